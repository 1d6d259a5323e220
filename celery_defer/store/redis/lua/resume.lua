-- KEYS: the run
-- ARGV: turn, owner, seconds to keep, then commands to execute if the caller gets the turn
-- Gives the turn to its first owner.
-- Returns {owner of the turn, 1 if that is the caller, the run's hash, 1 if the commands were
-- executed}; the owner is nothing if the run is in another turn.
local turn = redis.call('HGET', KEYS[1], 'turn') or '0'
if turn ~= ARGV[1] then
  return {'', 0, redis.call('HGETALL', KEYS[1]), 0}
end
redis.call('HDEL', KEYS[1], '') -- a full Redis refuses a script whose first write needs memory
redis.call('HSETNX', KEYS[1], 'owner', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3]) -- the parked run was to be kept longer
local owner = redis.call('HGET', KEYS[1], 'owner')
local is_mine = owner == ARGV[2] and 1 or 0
local hash = redis.call('HGETALL', KEYS[1])
return {owner, is_mine, hash, is_mine == 1 and execute(4) or 0}
