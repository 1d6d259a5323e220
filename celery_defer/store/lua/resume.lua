-- KEYS: the run
-- ARGV: turn, owner, seconds to keep, and where the results' Redis is to be told: its database,
--       the store's, seconds or 0, key, value
-- Gives the turn to its first owner.
-- Answers {who owns the turn, 1 if that is who asked, all that is known of the run's steps}.
local turn = redis.call('HGET', KEYS[1], 'turn') or '0'
if turn ~= ARGV[1] then
  return {'', 0, redis.call('HGETALL', KEYS[1])}
end
redis.call('HSETNX', KEYS[1], 'owner', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3]) -- it was kept for as long as it was parked
local owner = redis.call('HGET', KEYS[1], 'owner')
local answer = {owner, owner == ARGV[2] and 1 or 0, redis.call('HGETALL', KEYS[1])}
if ARGV[4] and answer[2] == 1 then
  redis.call('SELECT', ARGV[4])
  redis.call('SET', ARGV[7], ARGV[8])
  if ARGV[6] ~= '0' then
    redis.call('EXPIRE', ARGV[7], ARGV[6])
  end
  redis.call('PUBLISH', ARGV[7], ARGV[8])
  redis.call('SELECT', ARGV[5])
end
return answer
