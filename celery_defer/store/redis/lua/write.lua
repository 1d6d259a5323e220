-- Comes before other scripts and after record.lua, for which it defines how to write a record.
local function head(record)
  local step, digest = record.step or '', record.digest or ''
  local sizes = {#record.token, #step, #digest}
  local counts = {record.tries or 0, record.lease or 0, record.over or -1}
  local mark = record.is_cancelled and CANCELLED or MARK
  return struct.pack(FORM, mark, VERSION, counts[1], counts[2], counts[3], unpack(sizes)),
    record.token .. step .. digest
end
local function write(key, record, body, ...)
  local start, texts = head(record)
  redis.call('SET', key, start .. texts .. body, ...)
end
local function change(key, record) -- tries, lease and over; it lives as long as before
  redis.call('SETRANGE', key, 0, (head(record)))
end
