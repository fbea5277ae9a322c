package simulation

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// server is a connection to the real Redis, opened outside of the bubble: a
// goroutine that waits for it is not durably blocked, so the virtual clock
// stands still meanwhile.
type server struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func dial(socket string) (*server, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return &server{conn: c, in: bufio.NewReaderSize(c, 64<<10)}, nil
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
	if _, err := s.conn.Write(s.out); err != nil {
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
