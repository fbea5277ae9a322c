-- Settle ends a copy that has landed on the follower.
-- ARGV: now, session, token, bucket, key, from, version, ETag of what is there ("": nothing).
-- Returns {answer, sequence}: "OK", "LOST" (claim gone; the object was made dirty again), or "OVERRUN"
-- (a client wrote the follower meanwhile, or may have: the lock was lost). Then the claim is kept, until
-- somebody has noted that, or has died and is buried.
local r = load(ARGV[4], ARGV[5])
local from, to = ARGV[6], OTHER[ARGV[6]]
local mine = r.c == ARGV[2] and r.ct == ARGV[3]
-- A copy that took no lock landed before barrier one, so before any client
-- could write the follower.
local unlocked = mine and r.l == ''
if mine and r.n == from and (unlocked or r['i' .. to] == 0) then
  unclaim(r)
  r.l = ''
  r[to] = tonumber(ARGV[7])
  save(r)
  if ARGV[8] ~= '' and r.s ~= r.t then put(r, to, ARGV[8], true) end
  enqueue(r, NOW)
  return {'OK', told(ARGV[2])}
end
-- The follower's content is not known to be what the ledger says.
local overrun = (LOSS ~= '' and route[3] == 'Switched') or not unlocked and (r.n ~= from or r['i' .. to] > 0)
if mine and overrun then return {'OVERRUN', told(ARGV[2])} end
if mine then
  unclaim(r)
  r.l = ''
end
redo(r)
save(r)
enqueue(r, NOW)
return {overrun and 'OVERRUN' or 'LOST', told(ARGV[2])}
