-- Comes before other scripts, for which it defines a function.
-- Answers the memo of the first event of those that *came* since then, and that the run has not
-- received; it is what the step answers from now on.
local function receive(run, step, came, since)
  local offset, page = 0, nil
  repeat
    page = redis.call('ZRANGEBYSCORE', came, since, '+inf', 'LIMIT', offset, 100)
    for _, entry in ipairs(page) do
      local event, memo = entry:match('^([^\n]*)\n(.*)$')
      if redis.call('HSETNX', run, 'e:' .. event, '1') == 1 then
        redis.call('HSET', run, 'm:' .. step, memo)
        return memo
      end
    end
    offset = offset + 100
  until #page == 0
end
