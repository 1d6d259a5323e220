-- KEYS: the index of due times, of deadlines, of gates
-- Returns in how many seconds the first record is due, deadline is over, or gate is to be drained, as text;
-- nothing if there is none.
local at = math.huge
for _, key in ipairs(KEYS) do
  at = math.min(at, redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or math.huge)
end
return at < math.huge and string.format('%.17g', at - now)
