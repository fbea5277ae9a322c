package app

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// screen tells a person how the migration stands: a picture that is drawn over
// on a terminal, a line at a time elsewhere.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	live  bool
	drawn int
	last  string
	at    time.Time
}

// plainEvery bounds how often a plain line repeats itself with new figures.
const plainEvery = 5 * time.Second

func newScreen(f *os.File, plain bool) *screen {
	return &screen{out: f, live: !plain && term.IsTerminal(int(f.Fd()))}
}

// say prints a line that stays.
func (s *screen) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	_, _ = fmt.Fprintf(s.out, "%s  %s\n", time.Now().Format(time.TimeOnly), line)
}

func (s *screen) erase() {
	if s.drawn > 0 {
		_, _ = fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// show tells the status: at every call on a terminal, else when the phase or
// what it waits for changes, or every few seconds while figures move.
func (s *screen) show(st *v1alpha1.MigrationStatus) {
	lines := picture(st)
	if !s.live {
		key := string(st.Phase) + waitsFor(st)
		s.mu.Lock()
		fresh := key != s.last || time.Since(s.at) >= plainEvery && st.Phase != v1alpha1.PhaseSwitchDone
		if fresh {
			s.last, s.at = key, time.Now()
		}
		s.mu.Unlock()
		if fresh {
			s.say(strings.Join(lines, "; "))
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	for _, l := range lines {
		_, _ = fmt.Fprintln(s.out, l)
	}
	s.drawn = len(lines)
}

func picture(st *v1alpha1.MigrationStatus) []string {
	main := "Source"
	if st.Route != nil {
		main = string(st.Route.Main)
	}
	lines := []string{fmt.Sprintf("%s, main: %s", st.Phase, main)}
	if p := st.Progress; p != nil {
		percent := int32(0)
		if p.Percent != nil {
			percent = *p.Percent
		}
		done := p.Objects.Copied + p.Objects.Skipped
		line := fmt.Sprintf("%s %3d %%, %d of %d objects, %s of %s, buckets %d of %d", bar(percent), percent, done, p.Objects.Listed,
			size(p.Bytes.Copied), size(p.Bytes.Listed), p.Buckets.Copied, p.Buckets.Total)
		if st.Phase == v1alpha1.PhaseCopying && p.Rate != nil {
			line += fmt.Sprintf(", %d objects/s, %s/s", p.Rate.ObjectsPerSecond, size(p.Rate.BytesPerSecond.Value()))
		}
		if p.ETA != nil {
			line += ", about " + p.ETA.Duration.String() + " left"
		}
		lines = append(lines, line)
		if n := p.Objects.Failed + p.Buckets.Failed; n > 0 {
			lines = append(lines, fmt.Sprintf("%d failed:", n))
			for _, f := range p.Failures {
				lines = append(lines, fmt.Sprintf("  %s/%s: %s", f.Bucket, f.Key, f.Error))
			}
		}
	}
	if st.Lag != nil {
		lines = append(lines, fmt.Sprintf("%d objects behind, the oldest for %s", st.Lag.Objects, st.Lag.Age.Round(100*time.Millisecond)))
	}
	if a := st.Audit; a != nil && a.Phase == v1alpha1.AuditRunning {
		lines = append(lines, fmt.Sprintf("audit: %d objects compared, %d different, %d repaired", a.Compared, a.Missing+a.Extra+a.Different, a.Repaired))
	}
	if w := waitsFor(st); w != "" {
		lines = append(lines, w)
	}
	return lines
}

// waitsFor is what a person should know of: trouble, and what a switch waits for.
func waitsFor(st *v1alpha1.MigrationStatus) string {
	for _, t := range []string{v1alpha1.ConditionSourceReachable, v1alpha1.ConditionTargetReachable, v1alpha1.ConditionLedgerHealthy} {
		if c := meta.FindStatusCondition(st.Conditions, t); c != nil && c.Status == "False" {
			return t + ": " + c.Message
		}
	}
	c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionSwitched)
	if c == nil {
		return ""
	}
	switch c.Reason {
	case v1alpha1.ReasonNotAsked, v1alpha1.ReasonSwitched:
		return ""
	}
	return c.Message
}

func bar(percent int32) string {
	const width = 30
	n := int(percent) * width / 100
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

func size(n int64) string {
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
