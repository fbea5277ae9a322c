package simulation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// server is a connection to the real Redis. Nothing else of this process runs
// while it waits for an answer: the virtual clock stands still meanwhile, and what
// the other goroutines do does not depend on how long Redis takes.
type server struct {
	mu  sync.Mutex
	fd  stopped
	in  *bufio.Reader
	out []byte
}

func dial(socket string) (*server, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	return &server{fd: stopped(fd), in: bufio.NewReaderSize(stopped(fd), 64<<10)}, nil
}

// stopped is a connection that is read and written without telling Go's scheduler,
// which would let another goroutine run.
type stopped int

func (fd stopped) Read(b []byte) (int, error) {
	n, err := fd.raw(syscall.SYS_READ, b)
	if n == 0 && err == nil {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (fd stopped) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n, err := fd.raw(syscall.SYS_WRITE, b[sent:])
		if err != nil {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}

func (fd stopped) raw(call uintptr, b []byte) (int, error) {
	for {
		n, _, err := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch err {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}

// redisError is an error that Redis answered.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// do runs commands in one pipeline. An answer is nil, a string, an int64, a list
// or a redisError.
func (s *server) do(cmds ...[]any) []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = s.out[:0]
	for _, args := range cmds {
		s.out = append(s.out, '*')
		s.out = strconv.AppendInt(s.out, int64(len(args)), 10)
		s.out = append(s.out, "\r\n"...)
		for _, a := range args {
			v := text(a)
			s.out = append(s.out, '$')
			s.out = strconv.AppendInt(s.out, int64(len(v)), 10)
			s.out = append(append(append(s.out, "\r\n"...), v...), "\r\n"...)
		}
	}
	if _, err := s.fd.Write(s.out); err != nil {
		panic(fmt.Sprintf("redis: %v", err))
	}
	answers := make([]any, len(cmds))
	for i := range cmds {
		v, err := s.read()
		if err != nil {
			panic(fmt.Sprintf("redis: %v", err))
		}
		answers[i] = v
	}
	return answers
}

func text(a any) string {
	switch v := a.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	}
	return fmt.Sprint(a)
}

func (s *server) read() (any, error) {
	line, err := s.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	kind, rest := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return redisError(rest), nil
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		_, err := io.ReadFull(s.in, b)
		return string(b[:n]), err
	case kind != '*':
		return nil, errors.New("unknown answer " + string(kind))
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = s.read(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// deliver gives an answer to the command that go-redis' caller waits on.
func deliver(cmd redis.Cmder, v any) error {
	if err, ok := v.(redisError); ok {
		cmd.SetErr(err)
		return err
	}
	list, _ := v.([]any)
	n, _ := v.(int64)
	s, _ := v.(string)
	switch c := cmd.(type) {
	case *redis.Cmd:
		c.SetVal(v)
	case *redis.StatusCmd:
		c.SetVal(s)
	case *redis.IntCmd:
		c.SetVal(n)
	case *redis.BoolCmd:
		c.SetVal(n == 1)
	case *redis.StringCmd:
		c.SetVal(s)
	case *redis.SliceCmd:
		c.SetVal(list)
		return nil
	case *redis.StringSliceCmd:
		c.SetVal(sorted(texts(list))) // Redis gives sets in an order of its own
	case *redis.MapStringStringCmd:
		m := map[string]string{}
		for i := 0; i+1 < len(list); i += 2 {
			m[text(list[i])] = text(list[i+1])
		}
		c.SetVal(m)
	case *redis.ScanCmd:
		next, _ := strconv.ParseUint(text(list[0]), 10, 64)
		page, _ := list[1].([]any)
		c.SetVal(texts(page), next)
	default:
		panic(fmt.Sprintf("the simulation knows no %T", cmd))
	}
	if v == nil {
		cmd.SetErr(redis.Nil)
		return redis.Nil
	}
	return nil
}

func texts(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return out
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
