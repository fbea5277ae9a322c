package proxy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

func changeOf(key string) ledger.Change {
	return ledger.Change{Object: ledger.Object{Bucket: "b", Key: key}}
}

func TestJournalThatCantBeReadWholeIsReadAsFarAsItCanBe(t *testing.T) {
	line := func(key string) string {
		dir := t.TempDir()
		j, _, err := openJournal(dir)
		if err == nil {
			err = j.append([]ledger.Change{changeOf(key)})
		}
		b, rerr := os.ReadFile(filepath.Join(dir, journalFile))
		if err := errors.Join(err, rerr); err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(string(b), journalWhole)
	}
	a, b := line("a"), line("b")
	tests := map[string]struct {
		text  string
		want  []ledger.Change
		holes bool
	}{
		"empty":              {"", nil, false},
		"whole":              {journalWhole + a + b, []ledger.Change{changeOf("a"), changeOf("b")}, false},
		"twice the same":     {journalWhole + a + a, []ledger.Change{changeOf("a")}, false},
		"last line torn":     {journalWhole + a + b[:len(b)-5], []ledger.Change{changeOf("a")}, true},
		"line in the middle": {journalWhole + a[:7] + "\n" + b, []ledger.Change{changeOf("b")}, true},
		"zeros at the end":   {journalWhole + a + "\x00\x00\x00", []ledger.Change{changeOf("a")}, true},
		"told of holes":      {journalHoles + a, []ledger.Change{changeOf("a")}, true},
		"no first line":      {a, []ledger.Change{changeOf("a")}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, journalFile), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			// The second time it is as the first left it.
			for range 2 {
				j, was, err := openJournal(dir)
				if err != nil {
					t.Fatal(err)
				}
				j.close()
				if diff := cmp.Diff(journaled{tc.want, tc.holes}, was, cmp.AllowUnexported(journaled{})); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

func TestJournalOnAFullDiskSaysSoToTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	u, err := openUnrecorded(dir, time.Minute, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	// A file that can't grow: appending fails, writing in place does not.
	whole := u.journal.file
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	u.journal.file = full
	done := u.add(ledger.Source, "b", []string{"a"})
	u.journal.file = whole
	if err := u.journal.setHoles(true); err != nil {
		t.Fatal(err)
	}
	_, was, err := openJournal(dir)
	if err != nil || !was.holes || len(was.changes) > 0 {
		t.Fatalf("%+v %v", was, err)
	}
	u.journal.holes = true
	u.journal.file, err = os.OpenFile(filepath.Join(dir, journalFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The disk has room again: what was missing is written, and nothing is missing.
	u.rewrite()
	j, was, err := openJournal(dir)
	if err != nil || was.holes || len(was.changes) != 1 {
		t.Fatalf("%+v %v", was, err)
	}
	j.close()
	u.finish(done, undone)
	if u.count() != 0 {
		t.Fatal(u.count())
	}
}

func TestProxyWhoseJournalHadHolesMakesAnAuditDue(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, journalFile), []byte(journalHoles), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, rigOptions{config: func(c *Config) { c.StateDir = dir }})
	r.eventually("an unclean event", func() bool {
		u, err := r.ledger.Unclean(t.Context())
		r.must(err)
		return len(u) == 1 && strings.Contains(u[0].Reason, "ended before it could record them")
	})
	r.eventually("said once", func() bool { return r.proxy.unrecorded.count() == 0 })
	r.end()
	if _, was, err := openJournal(dir); err != nil || was.holes {
		t.Fatalf("%+v %v", was, err)
	}
}
