-- Comes before other scripts, for which it defines a function.
-- Executes the commands in ARGV from *at* on: their number, their database or nothing for the one in
-- use, then each as its number of words and the words. Returns 1 if it did; an error does not fail
-- the script. Must come last, because it does not select the database in use again.
local function execute(at)
  local count, database = tonumber(ARGV[at]), ARGV[at + 1]
  at = at + 2
  return count > 0 and pcall(function()
    if database ~= '' then
      redis.call('SELECT', database)
    end
    for _ = 1, count do
      redis.call(unpack(ARGV, at + 1, at + ARGV[at]))
      at = at + ARGV[at] + 1
    end
  end) and 1 or 0
end
