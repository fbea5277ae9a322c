-- Lookup says which store holds the newest version.
-- ARGV: now, bucket, key. Returns {store, known, epoch, main, state, hold, sync, uploads, run,
-- loss ("": the answer holds; else the state of the loss because of which it may not), ms since the switch,
-- hint ("1": it may not, but says that main holds the newest, since this switch; "0": that the old main does;
-- "k": that too, and what came last is all that can be lost),
-- ETags of what copies have put on main, or may have, with blanks between,
-- over ("1": what the old main has taken it took before main changed, and all of late of those ETags are known),
-- ms since the loss ("": the ledger has kept something of the object, or not what it had just before; else that both
-- stores held the same then, but for what came last), ms since all had told of those ETags,
-- ETags of what copies have put on the old main, or may have,
-- behind ("1": main may have lacked more than what was just written when it became main)}.
local o = redis.call('HMGET', P .. 'o:' .. member(ARGV[2], ARGV[3]), 'n', 's', 't', 'e', 'p', 'i' .. (MAIN or 's'), 'u')
local r = {found = o[1] and true or false, n = o[1] or MAIN, s = tonumber(o[2] or 0), t = tonumber(o[3] or 0), e = tonumber(o[4] or 0)}
local unsure, since, hint, copies, over, synced, ago, back, behind = '', '0', '', '', '', '', '', '', ''
if not trusted(r) then
  unsure = LOSS
  -- What was lost is what came last, unless the ledger came back from before and nobody has told of it
  -- since: main's writes do not move the newest version away from main.
  -- The same goes for one that is open there: it was answered, maybe, before its commit came.
  local kept = redis.call('HGET', P .. 'loss', 'restored') ~= '1'
  if r.found and (r.s ~= r.t or r.n == MAIN and tonumber(o[6] or 0) > 0) and (math.max(r.s, r.t) >= BASE or kept) then hint = r.n == MAIN and '1' or kept and 'k' or '0' end
  if not (r.found and r.n == MAIN) then
    if string.sub(o[5] or '', 1, 1) == MAIN then copies = string.sub(o[5], 3) end
    copies = copies .. ' ' .. (redis.call('HGET', P .. 'put', MAIN .. member(ARGV[2], ARGV[3])) or '')
  end
  if string.sub(o[5] or '', 1, 1) == OTHER[MAIN] then back = string.sub(o[5], 3) end
  back = back .. ' ' .. (redis.call('HGET', P .. 'put', OTHER[MAIN] .. member(ARGV[2], ARGV[3])) or '')
  local copied = redis.call('HGET', P .. 'loss', 'copied')
  behind = redis.call('HGET', P .. 'loss', 'behind') or ''
  if copied then ago = tostring(math.max(0, NOW - tonumber(copied))) end
  if copied and r.found and r.n ~= MAIN and o[7] ~= r.n then over = '1' end
  if not r.found and kept then synced = tostring(math.max(0, NOW - tonumber(redis.call('HGET', P .. 'loss', 'began') or NOW))) end
  since = tostring(math.max(0, NOW - tonumber(redis.call('HGET', P .. 'loss', 'flip') or 0)))
elseif LOSS ~= '' and route[3] ~= 'Switched' then
  r.n = MAIN
end
return {r.n, r.found and '1' or '0', EPOCH, MAIN, route[3], route[4], route[5], route[6], route[7], unsure, since, hint, copies, over, synced, ago, back, behind}
