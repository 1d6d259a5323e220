-- KEYS: the channel of the alarm
-- ARGV: prefix, task, name of the limit, then limit, period, burst, or nothing for each that stays as it is; or
--       nothing at all
-- Returns nothing.
prefix = ARGV[1]
local limits = key_of('limits', ARGV[2])
local old = numbers(ARGV[2], ARGV[3])
if ARGV[4] then
  local before = redis.call('HGET', limits, '!' .. ARGV[3]) or '\n\n'
  local row = {before:match('^(.-)\n(.-)\n(.*)$')}
  for i = 1, 3 do
    row[i] = ARGV[3 + i] ~= '' and ARGV[3 + i] or row[i]
  end
  redis.call('HSET', limits, '!' .. ARGV[3], table.concat(row, '\n'))
  keep(limits, YEAR)
else
  redis.call('HDEL', limits, '!' .. ARGV[3])
end
compare(ARGV[2], ARGV[3], old, KEYS[1])
