-- Comes before other scripts, for which it defines how a record is read and written: as one
-- string, for in a hash a body of some hundred bytes takes half as much again.
local function read(key)
  local kept = redis.call('GET', key)
  local record = kept and cmsgpack.unpack(kept)
  return type(record) == 'table' and record or {}
end
local function write(key, record, ...)
  redis.call('SET', key, cmsgpack.pack(record), ...)
end
