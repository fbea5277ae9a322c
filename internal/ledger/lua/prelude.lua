-- Common to every script on an object's shard.
-- KEYS[1]: the shard's prefix, e.g. "cf:{photos/0}:". Every other key is below
-- it, so it lies in the same hash slot.
-- ARGV[1]: the time in ms, or "" for Redis' own clock; then, of a session's
-- own calls, " SESSION TOLD": the largest sequence that it was told here.
local P = KEYS[1]
local NOW, WHO, TOLD = string.match(ARGV[1], '^(%d*) ?(%S*) ?(%d*)$')
if NOW ~= '' then
  NOW = tonumber(NOW)
else
  local t = redis.call('TIME')
  NOW = t[1] * 1000 + math.floor(t[2] / 1000)
end
local FIELDS = {'n', 's', 't', 'w', 'is', 'it', 'c', 'ct', 'l', 'd', 'a', 'ks', 'kt', 'bs', 'bt', 'f', 'e', 'p', 'v', 'u'}
local OTHER = {s = 't', t = 's'}

local route = redis.call('HMGET', P .. 'route', 'epoch', 'main', 'state', 'hold', 'sync', 'uploads', 'run')
local EPOCH, MAIN, SYNC = route[1], route[2], route[5] == '1'

-- What is known of a loss of data here, see suspect.lua. BASE: every version and
-- sequence from before is smaller. FORGET: somebody died who could have told more.
-- FIRST: BASE of the first loss that is not healed.
local loss = redis.call('HMGET', P .. 'loss', 'state', 'base', 'id', 'forget', 'first')
local LOSS, BASE, FORGET, FIRST = loss[1] or '', tonumber(loss[2] or 0), loss[4] == '1', tonumber(loss[5] or 0)

local function next_seq() return redis.call('INCR', P .. 'seq') end
local function member(bucket, key) return bucket .. '\0' .. key end

-- load reads an object's record. A missing one means "in sync".
--   n      store with the newest content, as clients see it
--   s, t   version of the content on source and target
--   w      sequence at which a client's commit last moved n
--   is, it intents open on source and target
--   c, ct  claim: session and token
--   l      "store:ms": until then a copy commits on that store; "u" after it: which can't refuse it
--          once a client has written the object there
--   d      dirty since, ms
--   a, f   failed copy attempts; those of them that a store refused for what the object is
--   ks, kt those of the intents that depend on what the store holds
--   e      after a loss, sequence at which n became sure whatever others may have known: a write
--          that began since was committed there, or the stores were compared. What is told again
--          of before that does not count. BASE - 1: one that began before was committed since, see replay.lua
--   v      after a loss, the largest sequence at which somebody was told what was newest, and has told it again
--   p      during a switch, a store and the ETags that copies have put there, or may have, since a
--          client last wrote it: what a loss must not mistake for a client's write
--   u      store that has taken a write which began when it was not main any more: an upload ended there
--   bs, bt sequence at which a write was ordered before what n holds, though it may have landed last
local function load(bucket, key)
  local id = member(bucket, key)
  local v = redis.call('HMGET', P .. 'o:' .. id, unpack(FIELDS))
  local r = {bucket = bucket, key = key, id = id, found = v[1] and true or false,
    n = v[1] or MAIN, s = tonumber(v[2] or 0), t = tonumber(v[3] or 0), w = tonumber(v[4] or 0),
    is = tonumber(v[5] or 0), it = tonumber(v[6] or 0), c = v[7] or '', ct = v[8] or '',
    l = v[9] or '', d = tonumber(v[10] or 0), a = tonumber(v[11] or 0),
    ks = tonumber(v[12] or 0), kt = tonumber(v[13] or 0), bs = tonumber(v[14] or 0), bt = tonumber(v[15] or 0), f = tonumber(v[16] or 0), e = tonumber(v[17] or 0), p = v[18] or '', v = tonumber(v[19] or 0), u = v[20] or ''}
  r.was_dirty = r.s ~= r.t
  r.was_visible = r.was_dirty or r.is + r.it > 0
  r.was_n = r.n
  if LOSS ~= '' and route[3] ~= 'Switched' and r.n ~= MAIN and math.max(r.s, r.t) < BASE then
    -- It came back from the time of a switch which has ended since.
    r.n = MAIN
    r[MAIN] = next_seq()
  end
  return r
end

-- What a session was told here last and is not known any more was lost. It is
-- looked for with each of its calls, before the call leaves something newer behind.
if WHO ~= '' and EPOCH and tonumber(TOLD) > tonumber(redis.call('HGET', P .. 'wit', WHO) or 0)
  and redis.call('EXISTS', P .. 'dead:' .. WHO) == 0 then
  local had = tonumber(redis.call('HGET', P .. 'wit', WHO) or 0)
  redis.call('HSET', P .. 'wit', WHO, TOLD) -- noted once
  local next = math.max(tonumber(redis.call('GET', P .. 'seq') or 0) + 1, NOW * 32)
  if LOSS == 'suspect' then
    redis.call('HSET', P .. 'loss', 'state', 'replay')
  elseif LOSS == 'replay' then
    -- It has to tell again, whether it had or not.
    redis.call('SET', P .. 'seq', next)
    redis.call('HDEL', P .. 'replayed', WHO)
  else
    BASE = next
    loss[3] = WHO .. '/' .. string.format('%d', BASE)
    redis.call('SET', P .. 'seq', BASE)
    redis.call('HSET', P .. 'loss', 'id', loss[3], 'state', 'replay', 'at', NOW, 'base', BASE)
    if redis.call('HSETNX', P .. 'loss', 'first', BASE) == 1 then FIRST = BASE end
    redis.call('HSETNX', P .. 'loss', 'began', NOW)
    redis.call('HDEL', P .. 'loss', 'forget', 'copied')
    redis.call('DEL', P .. 'vouched', P .. 'replayed', P .. 'had')
  end
  LOSS = 'replay'
  -- What it began after that was lost, see replayed.lua.
  redis.call('HSET', P .. 'had', WHO, math.min(had, tonumber(redis.call('HGET', P .. 'had', WHO) or had)))
end

-- since says that a record was written, or told again, since a loss. What was told is
-- not enough once somebody has died who could have told more.
local function since(r)
  return r.found and (FORGET and r.e or math.max(r.s, r.t)) >= BASE
end

-- trusted says that a record, or that there is none, means what it says: nothing
-- was lost, or it was written since, and everybody has told what they know. Where
-- only one store takes writes, the record can't be wrong about which one is newest.
local function trusted(r)
  return LOSS == '' or LOSS == 'lost' and (route[3] ~= 'Switched' or since(r))
end

-- witness notes the last thing that a session did here and was told of.
local function witness(session)
  if redis.call('EXISTS', P .. 'dead:' .. session) == 1 then return end
  redis.call('HSET', P .. 'wit', session, redis.call('GET', P .. 'seq') or '0')
end

-- told is witness for what needs no sequence of its own.
local function told(session)
  local seq = next_seq()
  witness(session)
  return seq
end

-- locked returns the store that a copy is committing on now, and until when.
local function locked(r)
  if r.l == '' then return nil end
  local store, till = string.match(r.l, '^(%a):(%d+)')
  till = tonumber(till)
  if till <= NOW then return nil end
  return store, till
end

-- save writes the record and every index that follows from it; a record that
-- says nothing any more is removed.
local function save(r)
  local open = r.is + r.it
  if r.s ~= r.t and not SYNC and r.n == MAIN and open == 0 and r.c == '' then
    -- Nobody keeps the follower in sync any more: main alone counts.
    r.s = r.t
  end
  local dirty = r.s ~= r.t
  local visible = dirty or open > 0
  if r.was_visible and (not visible or r.was_n ~= r.n) then redis.call('HINCRBY', P .. 'cnt', r.was_n, -1) end
  if visible and (not r.was_visible or r.was_n ~= r.n) then redis.call('HINCRBY', P .. 'cnt', r.n, 1) end
  if visible and not r.was_visible then
    redis.call('ZADD', P .. 'x:' .. r.bucket, 0, r.key)
    redis.call('SADD', P .. 'xb', r.bucket)
  elseif r.was_visible and not visible then
    redis.call('ZREM', P .. 'x:' .. r.bucket, r.key)
  end
  if dirty and not r.was_dirty then
    r.d = NOW
    redis.call('ZADD', P .. 'age', NOW, r.id)
  elseif r.was_dirty and not dirty then
    r.d, r.a, r.f = 0, 0, 0
    redis.call('ZREM', P .. 'age', r.id)
    redis.call('HDEL', P .. 'fail', r.id)
  end
  if not dirty then redis.call('ZREM', P .. 'q', r.id) end
  if not visible and r.c == '' then
    if r.found then redis.call('DEL', P .. 'o:' .. r.id) end
  else
    redis.call('HSET', P .. 'o:' .. r.id, 'n', r.n, 's', r.s, 't', r.t, 'w', r.w, 'is', r.is, 'it', r.it,
      'c', r.c, 'ct', r.ct, 'l', r.l, 'd', r.d, 'a', r.a, 'ks', r.ks, 'kt', r.kt, 'bs', r.bs, 'bt', r.bt, 'f', r.f, 'e', r.e, 'v', r.v, 'u', r.u)
  end
  r.found, r.was_dirty, r.was_visible, r.was_n = true, dirty, visible, r.n
end

-- enqueue makes a dirty object due at a time; it is queued at most once. A
-- claimed one is queued when its claim ends.
-- What main alone holds is not copied once nobody asks for it.
local function wanted(r) return r.s ~= r.t and (SYNC or r.n ~= MAIN) end
local function enqueue(r, due)
  if wanted(r) and r.c == '' then redis.call('ZADD', P .. 'q', due, r.id) end
end

-- touch says that the newest store's content is not what the other one holds.
local function touch(r) r[r.n] = next_seq() end

-- redo says that something may have changed, and has the object copied again. After a loss during a
-- switch the stores tell what is newest: it must not look as if that were known.
local function redo(r)
  if LOSS ~= 'lost' or trusted(r) then touch(r) end
end

-- put notes that a copy has put content on store x, or may yet. Call it after save, while the record stays.
-- landed: nothing else that was to be put there is there.
local function put(r, x, etag, landed)
  local list = x .. ' ' .. etag
  if not landed and string.sub(r.p, 1, 1) == x then
    for old in string.gmatch(string.sub(r.p, 3), '%S+') do
      if old ~= etag and #list < 400 then list = list .. ' ' .. old end
    end
  end
  r.p = list
  redis.call('HSET', P .. 'o:' .. r.id, 'p', list)
end

-- wrote says that a client's write, begun at sequence b, is on store x. On the
-- newest store it was visible as soon as it landed. On the other one it becomes
-- the newest now, unless the newest moved away from there after it began: then
-- it overlapped the write that moved it, and is ordered before that one, or it
-- would come back after it was overwritten. made: its store has said so.
-- late: x was not main any more when it began.
local function wrote(r, x, b, made, late)
  local counts = true
  if r.n ~= x and r.w <= b then
    -- A write that is ordered before n's, but was answered meanwhile, may have
    -- landed on this one: then x holds what must not come back.
    counts = r['b' .. x] <= b
    if counts then r.n = x end
    touch(r)
    if counts then r.w = r[x] end
  else
    touch(r)
    if r.n ~= x and r['i' .. x] > 0 then r['b' .. x] = next_seq() end
    -- It is later than whatever may be told again of the other store; not than what began there after it.
    if LOSS ~= '' and r.n == x then r.w, r.e = math.max(r.w, b), math.max(r.e, BASE - 1) end
  end
  if made and r.n == x and (LOSS == 'lost' or LOSS ~= '' and b >= BASE) then r.e = r[x] end
  if late and r.n == x then r.u = x end
  r.a, r.f = 0, 0
  redis.call('HDEL', P .. 'fail', r.id)
  if string.sub(r.p, 1, 1) == x then
    r.p = ''
    redis.call('HDEL', P .. 'o:' .. r.id, 'p')
  end
  save(r)
  enqueue(r, NOW)
  return counts
end

-- ended notes that an intent is over, whether it is known here or was lost: a call on its way
-- may tell again that it is open.
local function ended(session, id)
  if LOSS ~= 'suspect' and LOSS ~= 'replay' then return end
  redis.call('SADD', P .. 'ended:' .. session, id)
  redis.call('EXPIRE', P .. 'ended:' .. session, 86400)
end

-- closed takes an intent out of the ledger and of its object's record, which it
-- returns with the intent's store and sequence, and whether that was not main any more when it began;
-- nil if it was settled before.
local function closed(session, id)
  ended(session, id)
  local raw = redis.call('HGET', P .. 'i:' .. session, id)
  if not raw then return nil end
  redis.call('HDEL', P .. 'i:' .. session, id)
  redis.call('ZREM', P .. 'doubt', session .. '\0' .. id)
  local x, b, kind, bucket, key = string.match(raw, '^(%a)|(%d+)|(%d?)|(%Z+)%z(.*)$')
  local r = load(bucket, key)
  r['i' .. x] = math.max(0, r['i' .. x] - 1)
  redis.call('HINCRBY', P .. 'cnt', 'i' .. x, -1)
  if kind == '1' or kind == '3' then r['k' .. x] = math.max(0, r['k' .. x] - 1) end
  return r, x, tonumber(b), kind == '2' or kind == '3'
end

-- settle ends an intent whose outcome is unknown: it counts as done if its
-- store held the newest version, for clients may have seen it; else nobody saw
-- it and the newest store's content is copied over it.
local function settle(session, id)
  local r, x, b, late = closed(session, id)
  if not r then return false end
  if LOSS == 'lost' and not trusted(r) then
    -- The stores tell whether it landed, but that main had the newest is known.
    if r.n == x and x == MAIN then touch(r) end
    save(r)
    enqueue(r, NOW)
  elseif r.n == x then
    wrote(r, x, b, false, late)
  else
    -- Whoever comes to commit it after all is told.
    redis.call('SADD', P .. 'gone:' .. session, id)
    redis.call('EXPIRE', P .. 'gone:' .. session, 86400)
    touch(r)
    save(r)
    enqueue(r, NOW)
  end
  return true
end

-- once notes that a call of a session has claimed something; again says that it
-- was noted before. The answer to the first one was lost: nobody knows what it
-- claimed, so its session must be given up.
local function once(session, call) redis.call('SET', P .. 'once:' .. session .. ':' .. call, '1', 'EX', 60) end
local function again(session, call) return redis.call('EXISTS', P .. 'once:' .. session .. ':' .. call) == 1 end

local function unclaim(r)
  redis.call('SREM', P .. 'cl:' .. r.c, r.id)
  r.c, r.ct = '', ''
end
