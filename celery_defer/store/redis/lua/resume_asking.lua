-- KEYS: the run, its record, the index of due times, the index of waits, the channel of the alarm
-- ARGV: turn, owner, seconds to keep, run id, 1 if this is a retry, then what the run asks with, then facts for
--       `note` and commands to execute if it starts
-- Gives the turn to a delivery of its first owner's message if the run may start, as resume.lua; if not, it
-- changes nothing.
-- Returns {owner of the turn, 1 if that is the caller, the run's hash, 1 if the commands were executed, what
-- becomes of the run}.
local turn = redis.call('HGET', KEYS[1], 'turn') or '0'
local owner = redis.call('HGET', KEYS[1], 'owner') or ARGV[2]
if turn ~= ARGV[1] then
  if tonumber(turn) < tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[2])
    redis.call('ZREM', KEYS[3], ARGV[4])
    redis.call('ZREM', KEYS[4], ARGV[4])
  end
  return {'', 0, {'turn', turn, 'owner', ''}, 0}
end
local is_mine = owner == ARGV[2] and 1 or 0
if is_mine == 0 and owner:match('^.*%.') ~= ARGV[2]:match('^.*%.') then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  return {owner, 0, {'turn', turn, 'owner', owner}, 0}
end
local arrival, last = asked(6, KEYS[5])
local admission = admit(arrival, false, true)
if admission[1] ~= 'go' then
  return {owner, is_mine, redis.call('HGETALL', KEYS[1]), 0, admission}
end
redis.call('HDEL', KEYS[1], '') -- a full Redis refuses a script whose first write needs memory
if redis.call('HSETNX', KEYS[1], 'owner', ARGV[2]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[4])
  redis.call('ZREM', KEYS[4], ARGV[4])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
pass(arrival)
start(arrival, admission[2])
if is_mine == 0 then
  if ARGV[5] == '1' then
    note(last)
  end
  return {owner, 0, {'turn', turn, 'owner', owner}, 0, admission}
end
local hash = redis.call('HGETALL', KEYS[1])
return {owner, 1, hash, execute(note(last)), admission}
