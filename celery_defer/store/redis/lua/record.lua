-- Comes before other scripts, for which it defines how a record is read and written: as one
-- string, for in a hash a body of some hundred bytes takes half as much again; and without the
-- names of its fields.
local FIELDS = {'token', 'body', 'tries', 'step', 'values', 'lease', 'over'}
local function read(key)
  local kept, record = redis.call('GET', key), {}
  local values = kept and cmsgpack.unpack(kept)
  for i, field in ipairs(type(values) == 'table' and FIELDS or {}) do
    record[field] = values[i] or nil
  end
  return record
end
local function write(key, record, ...)
  local values = {}
  for i, field in ipairs(FIELDS) do
    values[i] = record[field] or false
  end
  redis.call('SET', key, cmsgpack.pack(values), ...)
end
