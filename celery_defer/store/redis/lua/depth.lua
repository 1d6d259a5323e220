-- KEYS: the index of due times, the quarantine
-- ARGV: seconds from now
-- Returns how many records there are, how many are due by then, for how many seconds the first of them has
-- been due, as text, and how many are in quarantine.
local at = now + ARGV[1]
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local late = math.max(at - (first[2] or at), 0)
return {
  redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '-inf', at), string.format('%.17g', late),
  redis.call('HLEN', KEYS[2]),
}
