-- KEYS: the index of due times
-- ARGV: how many at most, the longest body that is read, start and end of a record's key
-- Returns the records that are due first, each as {run id, in how many seconds it is due, tries, body}; a
-- longer body, or that of what is not a record, is empty. Changes nothing.
local records = {}
local entries = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #entries, 2 do
  local key = ARGV[3] .. entries[i] .. ARGV[4]
  local record = read(key)
  local is_short = (record.token or '') ~= '' and redis.call('STRLEN', key) <= tonumber(ARGV[2])
  local body = is_short and body_of(key, record) or ''
  local wait = string.format('%.17g', entries[i + 1] - now)
  table.insert(records, {entries[i], wait, record.tries or 0, body})
end
return records
