-- Comes before other scripts, for which it defines two functions.
-- Where a run is among the events with a digest: it has received all before that time. At least *since*.
local function cursor(run, digest, since)
  return math.max(since, redis.call('HGET', run, 'c:' .. digest) or 0)
end
-- Returns the memo of the first event that the run has not received, and makes it the step's: first
-- of *early*, which has event, time, memo, event ... from one place to another, then of the *past* events
-- since a time. Moves the cursor.
local function receive(run, step, digest, past, since, early, first, last)
  local reached
  local function receive_one(event, at, memo)
    reached = math.max(reached or 0, at)
    if redis.call('HSETNX', run, 'e:' .. event, '1') == 1 then
      redis.call('HSET', run, 'm:' .. step, memo)
      return memo
    end
  end
  local function walk()
    for i = first, last, 3 do
      local memo = receive_one(early[i], early[i + 1], early[i + 2])
      if memo then
        return memo
      end
    end
    local offset, page = 0, nil
    repeat
      page = redis.call('ZRANGEBYSCORE', past, since, '+inf', 'WITHSCORES', 'LIMIT', offset, 100)
      for i = 1, #page, 2 do
        local event, memo = page[i]:match('^([^\n]*)\n(.*)$')
        if receive_one(event, page[i + 1], memo) then
          return memo
        end
      end
      offset = offset + 100
    until #page == 0
  end
  local memo = walk()
  if reached then
    redis.call('HSET', run, 'c:' .. digest, reached)
  end
  return memo
end
