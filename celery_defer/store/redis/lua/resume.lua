-- KEYS: the run
-- ARGV: turn, owner, seconds to keep, and if whoever reads results is to be told: the database,
--       seconds or 0, key, value
-- Gives the turn to its first owner.
-- Answers {who owns the turn, 1 if that is who asked, all that is known of the run's steps}; the
-- owner is nothing where the run is in another turn.
local turn = redis.call('HGET', KEYS[1], 'turn') or '0'
if turn ~= ARGV[1] then
  return {'', 0, redis.call('HGETALL', KEYS[1])}
end
redis.call('HSETNX', KEYS[1], 'owner', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3]) -- it was kept for as long as it was parked
local owner = redis.call('HGET', KEYS[1], 'owner')
local answer = {owner, owner == ARGV[2] and 1 or 0, redis.call('HGETALL', KEYS[1])}
if ARGV[4] and answer[2] == 1 then
  tell(ARGV[4], ARGV[5], ARGV[6], ARGV[7])
end
return answer
