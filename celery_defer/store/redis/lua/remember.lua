-- KEYS: the run
-- ARGV: seconds to keep, then step, memo, step, memo ...
-- Returns the memo of the last step, which is the first one written. If the run was cancelled, returns
-- nothing and keeps nothing.
if redis.call('HEXISTS', KEYS[1], 'cancelled') == 1 then
  return ''
end
for i = 2, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], 'm:' .. ARGV[i], ARGV[i + 1])
end
keep(KEYS[1], ARGV[1])
return redis.call('HGET', KEYS[1], 'm:' .. ARGV[#ARGV - 1])
