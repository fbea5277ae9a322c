-- Common to the scripts on a migration's own slot: sessions and tasks.
-- KEYS[1]: the migration's prefix, e.g. "cf:{photos}:". ARGV[1]: the time in ms, or "" for Redis' own
-- clock; then, of a session's own calls, " SESSION TOLD": the largest number that it was told here.
local G = KEYS[1]
local NOW, WHO, TOLD = string.match(ARGV[1], '^(%d*) ?(%S*) ?(%d*)$')
if NOW ~= '' then
  NOW = tonumber(NOW)
else
  local t = redis.call('TIME')
  NOW = t[1] * 1000 + math.floor(t[2] / 1000)
end
local function fenced(session) return redis.call('EXISTS', G .. 'dead:' .. session) == 1 end

-- told numbers what a session has changed of tasks: it says the number again with its next call here.
local function told(session) return redis.call('HINCRBY', G .. 's:' .. session, 'told', 1) end

-- What it was told and is not known any more was lost: its next heartbeat is told so.
if WHO ~= '' then
  local known = redis.call('HMGET', G .. 's:' .. WHO, 'instance', 'told', 'beat')
  if known[1] and tonumber(TOLD) > tonumber(known[2] or 0) then
    redis.call('HSET', G .. 's:' .. WHO, 'told', TOLD, 'lost', known[3] or 0)
  end
end

-- once notes that a call of a session has claimed a task; again says that the network repeated it:
-- nobody heard of what it claimed, and the session has to end.
local function once(session, call) redis.call('SET', G .. 'once:' .. session .. ':' .. call, '1', 'EX', 60) end
local function again(session, call) return redis.call('EXISTS', G .. 'once:' .. session .. ':' .. call) == 1 end

-- known registers a session that nobody knows any more since a loss of data: it may be given up before
-- it says so itself, and what it claims would be nobody's.
local function known(session)
  if redis.call('SADD', G .. 'sess', session) == 0 then return false end
  redis.call('HSET', G .. 's:' .. session, 'role', 'worker', 'instance', session, 'started', NOW, 'seen', NOW)
  return true
end

-- drain ends a bucket's copying when nothing of it is left to list or copy.
local function closeone(bucket, by)
  if redis.call('HINCRBY', G .. 'b:' .. bucket, 'open', by) <= 0 and redis.call('HGET', G .. 'b:' .. bucket, 'state') == 'Listing' then
    redis.call('HSET', G .. 'b:' .. bucket, 'state', 'Copied')
  end
end

-- requeue gives a session's task back.
local function requeue(session, field)
  local kind, id = string.match(field, '^(%a):(.*)$')
  redis.call('HDEL', G .. 'w:' .. session, field)
  redis.call('LPUSH', G .. kind .. 'q', id)
end
