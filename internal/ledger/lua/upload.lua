-- Upload says on which store a multipart upload lives.
-- ARGV: now, field. Returns {store, sure, epoch, known, recovering}; sure "" = it may have been lost,
-- known "" = it is not remembered, so it lives where such uploads do; recovering "1" = somebody may still tell.
local s = redis.call('HGET', P .. 'u', ARGV[2])
local whole = LOSS == '' and redis.call('EXISTS', P .. 'ulost') == 0
return {s or route[6], (s or whole or route[3] ~= 'Switched') and '1' or '', EPOCH, s and '1' or '',
  route[3] == 'Switched' and (LOSS == 'suspect' or LOSS == 'replay') and '1' or ''}
