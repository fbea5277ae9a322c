-- Commit settles an intent as done.
-- ARGV: now, session, id, store, seq, bucket, key, newest at Begin ("1"/""), late ("1": the store was not main any more then).
-- Returns {code, newest store, sequence, sequence at which that store became it, "1" if a late write made it that}. Code 1: the intent was open; 0: it was
-- committed or counted as done before; -1: it was settled as never made, or its
-- store is not the newest any more, or holds what came before it: nobody may ever see the write.
local function answer(code, r)
  witness(ARGV[2])
  return {tostring(code), r.n, redis.call('GET', P .. 'seq'), tostring(r.w), r.u == r.n and '1' or ''}
end
local r, x = closed(ARGV[2], ARGV[3])
if r then
  return answer(wrote(r, x, tonumber(ARGV[5]), true, ARGV[9] == '1') and 1 or -1, r)
end
local gone = redis.call('SISMEMBER', P .. 'gone:' .. ARGV[2], ARGV[3]) == 1
r = load(ARGV[6], ARGV[7])
local b, newest = tonumber(ARGV[5]), r[r.n]
if LOSS ~= '' and not gone and (r.n == ARGV[4] or b < BASE and (newest <= b or newest >= FIRST)) then
  -- The intent was lost, the write was not. One that began since, or that the ledger knows later ones of from
  -- before the loss, was not lost: it was committed, the answer was lost, and what is newest may be later.
  return answer(wrote(r, ARGV[4], tonumber(ARGV[5]), true, ARGV[9] == '1') and 1 or -1, r)
end
touch(r)
save(r)
enqueue(r, NOW)
if r.n ~= ARGV[4] or (ARGV[8] == '' and gone) then return answer(-1, r) end
return answer(0, r)
