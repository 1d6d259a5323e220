-- KEYS: the run, its record, the index of due times, the index of waits
-- ARGV: turn, owner, seconds to keep, run id, 1 if this is a retry, then facts for `note` and commands to execute if the caller gets the turn
-- Gives the turn to its first owner. The record, which was for the case that no wake-up arrives, is
-- removed then; also if the store has lost the run's steps.
-- Returns {owner of the turn, 1 if that is the caller, the run's hash, 1 if the commands were
-- executed}; the owner is nothing if the run is in another turn. Others than the owner get the turn
-- of the hash and no more, for it may be large.
local turn = redis.call('HGET', KEYS[1], 'turn') or '0'
redis.call('HDEL', KEYS[1], '') -- a full Redis refuses a script whose first write needs memory
local is_first = turn == ARGV[1] and redis.call('HSETNX', KEYS[1], 'owner', ARGV[2]) == 1
if is_first or tonumber(turn) < tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[4])
  redis.call('ZREM', KEYS[4], ARGV[4])
end
if turn ~= ARGV[1] then
  return {'', 0, {'turn', turn, 'owner', ''}, 0}
end
redis.call('EXPIRE', KEYS[1], ARGV[3]) -- the parked run was to be kept longer
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner ~= ARGV[2] then
  if ARGV[5] == '1' and owner:match('^.*%.') == ARGV[2]:match('^.*%.') then -- of the message that got it
    note(6)
  end
  return {owner, 0, {'turn', turn, 'owner', owner}, 0}
end
local hash = redis.call('HGETALL', KEYS[1])
return {owner, 1, hash, execute(note(6))}
