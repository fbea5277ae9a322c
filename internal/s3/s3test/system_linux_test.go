package s3test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A process that is killed cleans up nothing: its servers end all the same.
func TestServerEndsWithAProcessThatIsKilled(t *testing.T) {
	const child = "CROSSFADE_S3TEST_CHILD"
	if dir := os.Getenv(child); dir != "" {
		e, _, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("server", strings.TrimPrefix(e.URL, "http://"))
		select {}
	}
	if _, err := Binary("versitygw"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := ""
	for lines := bufio.NewScanner(out); address == "" && lines.Scan(); {
		if a, ok := strings.CutPrefix(lines.Text(), "server "); ok {
			address = a
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if address == "" {
		t.Fatal("no server")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server still listens on", address)
		}
	}
}
