-- KEYS: the run
-- ARGV: seconds to keep, then step, memo, step, memo ...
-- Returns the memo of the last step if it had one before, else nothing; it does not have to travel
-- back. If the run was cancelled, returns an empty text and keeps nothing.
if redis.call('HEXISTS', KEYS[1], 'cancelled') == 1 then
  return ''
end
local is_new
for i = 2, #ARGV, 2 do
  is_new = redis.call('HSETNX', KEYS[1], 'm:' .. ARGV[i], ARGV[i + 1])
end
keep(KEYS[1], ARGV[1])
return is_new == 0 and redis.call('HGET', KEYS[1], 'm:' .. ARGV[#ARGV - 1])
