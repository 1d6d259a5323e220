-- Comes before other scripts, for which it defines a function.
-- Executes commands of ARGV that stand from one place on: how many there are, their database or
-- nothing for the one that is in use, then each as its number of words and the words. Returns 1 if
-- it has; what it cannot execute does not fail the rest. Must come last, for the database stays.
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
