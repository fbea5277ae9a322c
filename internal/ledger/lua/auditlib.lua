-- Common to the scripts of an audit, after gprelude.
-- audit   hash of the one audit: what it is, and its result
-- atasks  set of its open tasks: a:ID (a range), z:ID (keys set aside)
-- anames  list of the first differences
local AUDIT = G .. 'audit'

-- undo forgets every task; who holds one finds that out when it comes back.
local function undo()
  for _, f in ipairs(redis.call('SMEMBERS', G .. 'atasks')) do redis.call('DEL', G .. f) end
  redis.call('DEL', G .. 'aq', G .. 'zq', G .. 'atasks')
end

local function owns(session, field)
  if redis.call('HEXISTS', G .. 'w:' .. session, field) == 1 then
    if redis.call('SISMEMBER', G .. 'atasks', field) == 1 then return true end
    redis.call('HDEL', G .. 'w:' .. session, field)
  end
  return false
end

local function addtask(kind, ...)
  local id = redis.call('INCR', G .. 'next')
  redis.call('HSET', G .. kind .. ':' .. id, ...)
  redis.call('SADD', G .. 'atasks', kind .. ':' .. id)
  redis.call('RPUSH', G .. kind .. 'q', id)
end

local function endtask(session, field)
  redis.call('DEL', G .. field)
  redis.call('SREM', G .. 'atasks', field)
  redis.call('HDEL', G .. 'w:' .. session, field)
  if redis.call('SCARD', G .. 'atasks') == 0 then
    redis.call('HSET', AUDIT, 'result', 'Complete', 'finished', NOW, 'problem', '')
    redis.call('DEL', G .. 'aq', G .. 'zq')
  end
end
