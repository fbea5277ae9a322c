package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// MemberOptions say who a process is and what it does with a new route.
type MemberOptions struct {
	Role Role
	// Instance is the pod, or machine, that the process runs in: a later session
	// of the same instance proves that the earlier process is gone.
	Instance string
	// Home is the name of what the process keeps between its runs, "" if nothing: another
	// session of the same instance with another home proves nothing.
	Home string
	// Interval between heartbeats; 0 means 500 ms.
	Interval time.Duration
	Log      logr.Logger
	// Apply is called with each new route before it is acknowledged, and returns
	// when the process obeys it everywhere. Nil means at once.
	Apply func(context.Context, Route) error
	// Unrecorded counts writes that were forwarded and not recorded yet. While it
	// is not 0, no epoch is acknowledged.
	Unrecorded func() int64
	// Adopts says that this process has read its predecessor's journal: sessions
	// of the same instance and home that died are clean once Unrecorded is 0.
	Adopts bool
	// Lands is how long a request can land after its process lost control of it; 0
	// means 60 s.
	Lands time.Duration
	// NewID makes session ids; nil means at random. For simulations.
	NewID func() string
}

// Member is this process in the ledger.
type Member struct {
	l     *Ledger
	o     MemberOptions
	first string // its first session
	born  time.Time

	mu    sync.Mutex
	id    string // registered in the ledger; "" before that
	next  string // to be registered with the next heartbeat
	acked int64
	beat  int64          // number of the last heartbeat that was answered
	ended []ended        // earlier sessions that have not vouched since
	done  map[int]string // by shard: the loss that was replayed

	route   atomic.Pointer[Route]
	contact atomic.Int64
}

// ended is a session that was given up, with the number of its last heartbeat
// that was answered.
type ended struct {
	id   string
	beat int64
}

// Join returns the process' membership; Run makes it live.
func (l *Ledger) Join(o MemberOptions) *Member {
	if o.Interval == 0 {
		o.Interval = 500 * time.Millisecond
	}
	if o.Lands == 0 {
		o.Lands = time.Minute
	}
	if o.NewID == nil {
		o.NewID = func() string { return string(o.Role) + "-" + rand.Text()[:12] }
	}
	first := o.NewID()
	return &Member{l: l, o: o, first: first, born: l.local(), next: first}
}

// ID returns the session's id, "" before the first heartbeat was answered. It
// changes when the session was fenced. Only a registered session may begin
// anything: otherwise nobody would settle what it leaves behind.
func (m *Member) ID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// Route returns the route that the process obeys, and whether it knows one.
func (m *Member) Route() (Route, bool) {
	r := m.route.Load()
	if r == nil {
		return Route{}, false
	}
	return *r, true
}

// Contact returns when the ledger last answered a heartbeat; zero means never.
func (m *Member) Contact() time.Time {
	n := m.contact.Load()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// Healthy says that the ledger answered within the last four intervals.
func (m *Member) Healthy() bool { return time.Since(m.Contact()) < 4*m.o.Interval }

// Run sends heartbeats until the context ends. Outages of Redis are logged
// and survived; a fenced session is replaced by a new one.
func (m *Member) Run(ctx context.Context) error {
	t := time.NewTicker(m.o.Interval)
	defer t.Stop()
	down := false
	for {
		again, err := m.Beat(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !down:
			down = true
			m.o.Log.Info("no heartbeat", "error", err.Error())
		case err == nil && down:
			down = false
			m.o.Log.Info("heartbeats again")
		}
		if again {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Beat sends one heartbeat and obeys what it answers. It returns true when the
// next one should follow at once: a new route was obeyed and wants to be acknowledged.
func (m *Member) Beat(ctx context.Context) (bool, error) {
	m.mu.Lock()
	id, acked, beat := m.id, m.acked, m.beat
	first := m.next != ""
	if first {
		id, acked, beat = m.next, 0, 0
	}
	m.mu.Unlock()
	h := heartbeat{role: m.o.Role, instance: m.o.Instance, home: m.o.Home, epoch: acked, beat: beat, process: m.first, age: m.l.local().Sub(m.born)}
	m.count(&h)
	// A heartbeat that is given up may still arrive, after Leave even, and register
	// a session that holds up barriers until it is buried: the end of ctx waits.
	bctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(4*m.o.Interval, time.Second))
	defer cancel()
	a, err := m.l.heartbeat(bctx, id, h)
	if errors.Is(err, ErrFenced) {
		m.mu.Lock()
		m.next, m.acked, m.beat = m.o.NewID(), 0, 0
		m.mu.Unlock()
		m.l.told.forget(id) // so did the ledger
		m.o.Log.Info("session was fenced; registering anew", "session", id)
		return true, nil
	}
	heard := a.beat
	if a.lost {
		heard = beat // it is said again until it is dealt with
	}
	if errors.Is(err, ErrNoRoute) {
		m.register(id, heard) // it is known, there is just nothing to obey yet, or to lose
	}
	if err != nil {
		return false, err
	}
	r := a.route
	if known := m.l.seen.Load(); r.Epoch < known {
		// Redis lost the route that was in force. Its owner brings it back.
		return false, fmt.Errorf("%w: %w: epoch %d, not %d", ErrUnavailable, errOlder, r.Epoch, known)
	}
	m.contact.Store(time.Now().UnixNano())
	m.register(id, heard)
	h.beat = a.beat
	if err := m.vouch(bctx, id, &h, first, a.lost); err != nil {
		return false, err
	}
	m.register(id, h.beat)
	if cur := m.route.Load(); cur == nil || *cur != r {
		if m.o.Apply != nil {
			if err := m.o.Apply(ctx, r); err != nil {
				return false, err
			}
		}
		m.route.Store(&r)
		m.l.saw(r.Epoch)
		if r.State == Steady {
			m.l.told.forgetPlaces()
		}
	}
	if acked == r.Epoch || m.o.Unrecorded != nil && m.o.Unrecorded() > 0 {
		return false, nil
	}
	m.mu.Lock()
	if m.id == id {
		m.acked = r.Epoch
	}
	m.mu.Unlock()
	return true, nil
}

// count has a heartbeat say what is unrecorded now.
func (m *Member) count(h *heartbeat) {
	if m.o.Unrecorded != nil {
		h.unrecorded = m.o.Unrecorded()
	}
	h.adopts = m.o.Adopts && h.unrecorded == 0
}

// Abandon ends a session after a call whose outcome is unknown may have left
// claims or tasks in it that this process does not know of: a new session is
// registered with the next heartbeat, and the old one is buried, which gives
// back whatever it held. What the process does know it holds, it can go on with.
// A session that was given up before takes no other one with it.
func (m *Member) Abandon(session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == "" && m.id == session {
		m.next, m.acked = m.o.NewID(), 0
	}
}

// vouch looks whether what this process was told is still known, and tells the
// ledger again what it may have lost. h is its next heartbeat, first says that the session
// is new, lost that a heartbeat is not known any more.
func (m *Member) vouch(ctx context.Context, id string, h *heartbeat, first, lost bool) error {
	m.mu.Lock()
	before := m.ended
	m.mu.Unlock()
	for _, old := range before {
		if _, err := m.l.vouch(ctx, old.id); err != nil {
			return err
		}
		gone, err := m.l.lostOf(ctx, old.id, old.beat)
		if err != nil {
			return err
		}
		lost = lost || gone
	}
	losses, err := m.l.vouch(ctx, id)
	if err != nil {
		return err
	}
	replaying := func(x Loss) bool { return x.State == Replaying }
	if !lost && slices.ContainsFunc(losses, func(x Loss) bool { return replaying(x) && !x.Replayed[id] }) {
		// Its heartbeats may be lost too: told so once it has told everything, it would begin again.
		a, err := m.l.heartbeat(ctx, id, *h)
		if err != nil {
			return err
		}
		lost, h.beat = a.lost, a.beat
	}
	if lost && !slices.ContainsFunc(losses, replaying) {
		if err := m.l.mark(ctx, string(Replaying), "", ""); err != nil {
			return err
		}
		if losses, err = m.l.vouch(ctx, id); err != nil {
			return err
		}
	}
	var todo []Loss
	m.mu.Lock()
	m.ended = m.ended[len(before):]
	for _, old := range before {
		m.l.told.forget(old.id) // not before what it misses is noted
	}
	for _, x := range losses {
		// Whoever misses more, though it has told, tells again: a worker gives its session up then.
		if x.State != Suspected && (lost || m.done[x.Shard] != x.ID || !x.Replayed[id]) {
			todo = append(todo, x)
		}
	}
	m.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	var n int
	if err := m.during(ctx, id, *h, func(ctx context.Context) (err error) {
		n, err = m.l.replay(ctx, id, todo, m.o.Lands)
		return err
	}); err != nil {
		return err
	}
	m.o.Log.Info("Redis lost data; told it again what was committed of late", "objects", n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done == nil {
		m.done = map[int]string{}
	}
	for _, x := range todo {
		m.done[x.Shard] = x.ID
	}
	if m.o.Role == RoleWorker && !first && m.next == "" {
		// Claims and tasks that had ended may have come back with older data: nobody
		// but whoever buries this session would end them.
		m.next, m.acked = m.o.NewID(), 0
	}
	return nil
}

// tellingMost bounds how long it takes to tell everything again: some 100,000 objects.
const tellingMost = time.Minute

// during does what may take longer than a heartbeat, with heartbeats meanwhile, or the
// session would be thought dead. Each says the same number: what they are answered is
// answered again afterwards.
func (m *Member) during(ctx context.Context, id string, h heartbeat, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellingMost)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	t := time.NewTicker(m.o.Interval)
	defer t.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-t.C:
			m.count(&h)
			if a, err := m.l.heartbeat(ctx, id, h); err == nil && a.route.Epoch >= m.l.seen.Load() {
				m.contact.Store(time.Now().UnixNano())
			}
		}
	}
}

func (m *Member) register(id string, beat int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == id {
		if m.id != "" {
			m.ended = append(m.ended, ended{m.id, m.beat})
		}
		m.id, m.next = id, ""
		m.done = nil
	}
	if m.id == id {
		m.beat = beat
	}
}

// Leave ends the session cleanly. Call it when no request is under way any more
// and nothing is unrecorded. An abandoned session is left to be buried.
func (m *Member) Leave(ctx context.Context) error {
	m.mu.Lock()
	id := m.id
	if m.next != "" {
		id = m.next // a heartbeat without an answer may have registered it
	}
	m.mu.Unlock()
	return m.l.leave(ctx, id)
}
