-- Begin stores the intents of a client's writes, or none of them.
-- ARGV: now, session, store ("" = main), insync ("1"/""), bucket, removes ("1"/""),
-- compared ("1": the stores were, just now), then id and key of each.
-- Returns {"OK", epoch, main, state, hold, sync, uploads, run, then store, newest, seq, sequence at which newest moved of each},
-- or {"FENCED"}, {"HELD"}, {"LOCKED", ms left}, {"DIRTY", being copied ("1"/"")}, {"MOVED", epoch}, {"UNKNOWN"}.
local session, want, insync, bucket, removes = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', P .. 'dead:' .. session) == 1 then return {'FENCED'} end
if (tonumber(TOLD) or 0) < tonumber(redis.call('HGET', P .. 'floor', session) or 0) then return {'FENCED'} end -- see replayed.lua
-- Until then only: the engine that would end this may be gone.
if route[4] == '1' and NOW < tonumber(redis.call('HGET', P .. 'route', 'held') or NOW + 1) then return {'HELD'} end
local x = want ~= '' and want or MAIN
-- The other store is written only while a switch is under way, and not at its very end: see closeold.lua.
if x ~= MAIN and (route[3] ~= 'Switched' or redis.call('HGET', P .. 'route', 'closed') == EPOCH) then return {'MOVED', EPOCH} end
local records = {}
for i = 8, #ARGV, 2 do
  if redis.call('SISMEMBER', P .. 'gone:' .. session, ARGV[i]) == 1 then return {'FENCED'} end -- aborted already
  local r = load(bucket, ARGV[i + 1])
  local store, till = locked(r)
  if store == x then return {'LOCKED', tostring(till - NOW)} end
  -- Its lock is over, but not its claim: it may still land where nothing is.
  if removes == '1' and r.c ~= '' and string.sub(r.l, 1, 1) == x then return {'LOCKED', '0'} end
  local y = OTHER[x]
  -- A write that depends on what its store holds must not be overtaken by one
  -- on the other store: they would be told apart in the wrong order.
  if r['k' .. y] > 0 then return {'LOCKED', '0'} end
  if insync == '1' then
    local sure = trusted(r)
    if not sure and route[3] ~= 'Steady' then
      if LOSS ~= 'lost' then return {'LOCKED', '0'} end
      if ARGV[7] ~= '1' then return {'UNKNOWN'} end
    end
    -- A record from before a loss says nothing, and nobody copies the object because of it.
    if (sure and r.n ~= x and r.s ~= r.t) or r['i' .. y] > 0 then
      enqueue(r, 0)
      return {'DIRTY', r.c ~= '' and '1' or ''}
    end
  end
  records[#records + 1] = r
end
local seq = tostring(next_seq())
witness(session)
-- 1: depends on what its store holds; 2: began after main had changed; 3: both.
local kind = insync == '1' and (x ~= MAIN and '3' or '1') or (x ~= MAIN and '2' or '')
local out = {'OK', EPOCH, MAIN, route[3], route[4], route[5], route[6], route[7]}
for j, r in ipairs(records) do
  local id = ARGV[6 + 2 * j]
  if j > 1 then r = load(bucket, r.key) end -- the same key may be named twice
  -- A call that was repeated by the network counts once.
  if redis.call('HSETNX', P .. 'i:' .. session, id, x .. '|' .. seq .. '|' .. kind .. '|' .. r.id) == 1 then
    r['i' .. x] = r['i' .. x] + 1
    if insync == '1' then r['k' .. x] = r['k' .. x] + 1 end
    redis.call('HINCRBY', P .. 'cnt', 'i' .. x, 1)
    save(r)
  end
  out[#out + 1] = x
  out[#out + 1] = r.n == x and LOSS == '' and '1' or '0'
  out[#out + 1] = seq
  out[#out + 1] = tostring(r.w)
end
return out
