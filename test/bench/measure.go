package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
)

// counters only grow; a case costs their difference.
type counters struct {
	cpu            time.Duration // of the process in the middle
	allocs, heap   float64       // objects and bytes
	asked          float64       // ledger calls that a request waited for
	scripts, trips float64       // Redis: scripts run, reads from a socket
	busy           time.Duration // Redis: in scripts
}

func (c counters) less(d counters) counters {
	return counters{c.cpu - d.cpu, c.allocs - d.allocs, c.heap - d.heap, c.asked - d.asked, c.scripts - d.scripts, c.trips - d.trips, c.busy - d.busy}
}

// count reads all counters of a contender.
func (g *rig) count(ctx context.Context, c *contender) (out counters, err error) {
	if c.process == nil {
		return out, nil
	}
	if c.crossfade() {
		if err := out.readMetrics(ctx, c.metrics); err != nil {
			return out, err
		}
		if err := out.readRedis(ctx, g); err != nil {
			return out, err
		}
	}
	for _, pid := range family(c.process) {
		d, err := cpuOf(pid)
		if err != nil {
			return out, err
		}
		out.cpu += d
	}
	return out, nil
}

func (c *counters) readMetrics(ctx context.Context, addr string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch {
		case name == "go_memstats_mallocs_total":
			c.allocs = v
		case name == "go_memstats_alloc_bytes_total":
			c.heap = v
		case strings.HasPrefix(name, "crossfade_proxy_ledger_seconds_count"):
			c.asked += v
		}
	}
	return lines.Err()
}

func (c *counters) readRedis(ctx context.Context, g *rig) error {
	text, err := g.redis.Info(ctx, "stats", "commandstats").Result()
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "total_reads_processed":
			c.trips, err = strconv.ParseFloat(value, 64)
		case "cmdstat_evalsha":
			var busy int64
			_, err = fmt.Sscanf(value, "calls=%g,usec=%d", &c.scripts, &busy)
			c.busy = time.Duration(busy) * time.Microsecond
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// idleRate is what heartbeats ask of Redis in a second.
func (g *rig) idleRate(ctx context.Context) (counters, error) {
	var before, after counters
	if err := before.readRedis(ctx, g); err != nil {
		return before, err
	}
	began := time.Now()
	sleep(ctx, 2*time.Second)
	if err := after.readRedis(ctx, g); err != nil {
		return after, err
	}
	d, s := after.less(before), time.Since(began).Seconds()
	return counters{scripts: d.scripts / s, trips: d.trips / s}, nil
}

// family is a process and its children: nginx' workers.
func family(p *lab.Process) []int {
	pids := []int{p.Pid()}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.Pid(), p.Pid()))
	if err != nil {
		return pids
	}
	for f := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cpuOf is the time that a process has spent on the cores, in ticks of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	var ticks int64
	for _, s := range f[11:13] { // utime and stime
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// resetPeak begins a new measurement of peakOf.
func resetPeak(p *lab.Process) {
	for _, pid := range family(p) {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}

// peakOf is the most memory that a process and its children held, in bytes.
func peakOf(p *lab.Process) (sum int64) {
	for _, pid := range family(p) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		if f := strings.Fields(rest); len(f) > 0 {
			kib, _ := strconv.ParseInt(f[0], 10, 64)
			sum += kib << 10
		}
	}
	return sum
}
