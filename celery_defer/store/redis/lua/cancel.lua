-- KEYS: the run, its record, the index of due times, the index of waits
-- ARGV: run id, seconds to keep, 1 to cancel only a parked run, in how many seconds a relay may
--       take the record
-- Returns the body of the record if the run was parked, or what the run has kept for its end. Its
-- wait is over, and a wake-up that is still to arrive does not get its turn.
local record = read(KEYS[2])
local state = redis.call('HMGET', KEYS[1], 'turn', 'owner', 'end')
local is_lost = (record.token or '') == '' and state[1] and not state[2]
local is_parked = record.step or is_lost
if not is_parked and ARGV[3] == '1' then
  return false
end
redis.call('ZREM', KEYS[4], ARGV[1]) -- a full Redis refuses a script whose first write needs memory
redis.call('HSET', KEYS[1], 'cancelled', '1')
if not is_parked then -- a retry of it may wait for long
  keep(KEYS[1], ARGV[2])
  return false
end
redis.call('HSETNX', KEYS[1], 'owner', 'cancelled')
redis.call('EXPIRE', KEYS[1], ARGV[2])
local body = record.step and body_of(KEYS[2], record) or state[3] or ''
local token = record.step and record.token or 'cancelled'
write(KEYS[2], {token = token, lease = now + ARGV[4], is_cancelled = true}, body, 'EX', ARGV[2])
redis.call('ZADD', KEYS[3], now + ARGV[4], ARGV[1])
return body
