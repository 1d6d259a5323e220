-- KEYS: the record, the index of due times, the index of waits
-- ARGV: run id, token, the broker's database, the store's, then each command: name, key, value
-- Goes on as settle.lua does. A command that is refused ends it here, so that the record stays.
redis.call('SELECT', ARGV[3])
for i = 5, #ARGV, 3 do
  redis.call(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
redis.call('SELECT', ARGV[4])
