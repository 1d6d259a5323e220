-- Comes before other scripts and after now, record, write, keep and unwatching, for which it defines a function.
-- Lets no further step of a run begin, for a reason. Of a run that is parked it returns the body of the
-- record, or what the run has kept for its end: the record is due at a time, to end the run. Its wait
-- is over, and a wake-up that is still to arrive does not get its turn.
-- *keys* has the record, the index of due times, the index of waits, the index of deadlines.
local function cancel(id, run, keys, why, seconds, due, lease, only_parked)
  local record = read(keys[1])
  local state = redis.call('HMGET', run, 'turn', 'owner', 'end')
  local is_lost = (record.token or '') == '' and state[1] and not state[2]
  local is_parked = record.step or is_lost
  if not is_parked and only_parked then
    return false
  end
  redis.call('ZREM', keys[3], id)
  unwatch(run, id, keys[4])
  redis.call('HSET', run, 'cancelled', '1', 'why', why)
  if not is_parked then -- a retry of it may wait for long
    keep(run, seconds)
    return false
  end
  redis.call('HSETNX', run, 'owner', 'cancelled')
  redis.call('EXPIRE', run, seconds)
  local body = record.step and body_of(keys[1], record) or state[3] or ''
  local token = record.step and record.token or 'cancelled'
  write(keys[1], {token = token, lease = lease, is_cancelled = true}, body, 'EX', seconds)
  redis.call('ZADD', keys[2], due, id)
  return body
end
