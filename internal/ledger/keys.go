package ledger

import "strconv"

// Every key of a migration, below two prefixes. One script touches one prefix,
// and one prefix is one hash slot.
//
// Below a shard's prefix cf:{NAME/SHARD}: (owner: proxies and workers)
//
//	route        hash    the route in force here; closed: see CloseOld; since: see unplaced.lua  for ever
//	seq          string  counter that versions come from               for ever
//	o:BUCKET\0KEY hash   record of an object (fields: prelude.lua)      while dirty, in flight, claimed or locked
//	x:BUCKET     zset    visible records' keys, lexical: list overlay   as the records
//	xb           set     buckets that have an x:                        for ever, one per bucket
//	age          zset    dirty objects by ms since when                 while dirty
//	q            zset    events: dirty objects by ms when due           until claimed
//	i:SESSION    hash    open intents: STORE|SEQ|KIND|OBJECT                until settled
//	doubt        zset    in-doubt intents by ms when to settle          until settled
//	cl:SESSION   set     objects a session has claimed                  until settled
//	gone:SESSION set     intents settled as never made, or aborted first  a day
//	ended:SESSION set    intents that ended while a loss was dealt with  a day
//	dead:SESSION string  fence                                          30 days
//	once:SESSION:CALL string  a claim's call, should it come again          60 s
//	fail         hash    objects given up: cause                        until copied or retried
//	u            hash    uploads that are placed: during a switch, or on a store other than route.uploads  until done, or SwitchDone
//	uc           hash    objects and stores where a copy has an upload: ms since when, clients' there before  until that one has ended
//	wit          hash    sequence that each session was told last       until it was buried, or left
//	floor        hash    what a session must have been told to begin    until it was buried, or left
//	loss         hash    a loss of data, see prelude.lua and suspect.lua  until healed
//	put          hash    ETags that copies have put on stores, as told  until healed
//	vouched      hash    sessions that miss nothing; replayed: that told as loss
//	had          hash    what was left of what each session was told    until it has told
//	ulost        string  the ledger lost which uploads it remembered    until Steady
//	cnt          hash    records by newest store, intents by store      for ever
//
// Below the migration's prefix cf:{NAME}:
//
//	route        hash    the route that sessions must obey              for ever
//	tick         string  ms of the last heartbeat                       for ever
//	meta         hash    generation, shards                             for ever
//	sess         set     sessions; s:SESSION hash of each               until it left or was buried
//	dead:SESSION string  fence                                          30 days
//	buckets      set     buckets; b:BUCKET hash of state and progress   for ever, one per bucket
//	bq rq cq     list    tasks: buckets, ranges, copy batches           cq is bounded
//	r:ID c:ID    hash    a range; a batch                               until done
//	w:SESSION    hash    tasks that a session holds                     until done
//	once:SESSION:CALL string  a task's claim, should it come again        60 s
//	next         string  counter of task ids                            for ever
//	hungry       string  a worker found no range                        2 s
//	lease:NAME   string  elected session                                its ttl
//	dangling     hash    multipart uploads left on the old store        for ever
//	unclean      hash    events that an audit must heal: ms when last   until healed
//	audit        hash    the audit: what it is, counts, result          until its result is kept elsewhere
//	anames       list    its first differences, bounded                 as the audit
//	atasks       set     its open tasks, as in aq and zq                as the audit goes on
//	aq zq        list    tasks: ranges, keys set aside                  zq is bounded
//	a:ID z:ID    hash    a range of both listings; keys set aside       until done
//	hungrya      string  a worker found no range to compare             2 s
func (l *Ledger) shard(i int) string {
	return "cf:{" + l.name + "/" + strconv.Itoa(i) + "}:"
}

func (l *Ledger) prefix(o Object) string { return l.shard(l.shardOf(o)) }

func (l *Ledger) global() string { return "cf:{" + l.name + "}:" }
