package model

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// processVariable tells this test binary, started again, to be one of the
// processes, and names its configuration.
const processVariable = "KEYROTOR_MODEL_PROCESS"

// request and answer are the lines that go to a process and come from it. It works
// on any number of requests at a time.
type request struct {
	ID int
	Op op
}

type answer struct {
	ID     int
	Result result
}

// serve does what it is asked to until its standard input ends.
func serve(config string) error {
	ctx := context.Background()
	kr, err := core.Open(ctx, config)
	if err != nil {
		return err
	}
	destroyer, err := kr.Destruction(nil)
	if err != nil {
		return err
	}
	n := node{kr.Engine, kr, destroyer}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	var wg sync.WaitGroup
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			break
		}
		wg.Go(func() {
			result := n.do(ctx, r.Op)
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(answer{r.ID, result}) // whoever asked may be gone
		})
	}
	wg.Wait()
	return kr.Close()
}

// process is one of them as the driver sees it.
type process struct {
	*procs.Child

	mu      sync.Mutex
	asked   int
	waiting map[int]chan result
}

func startProcess(t *testing.T, config string) *process {
	t.Helper()
	p := &process{waiting: map[int]chan result{}}
	p.Child = procs.Start(t, func(line string) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Errorf("a process answers %.200q", line)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting[a.ID] <- a.Result
		delete(p.waiting, a.ID)
	}, processVariable+"="+config)
	return p
}

// ask has the process do something. The answer does not come if the process is
// killed before.
func (p *process) ask(o op) <-chan result {
	came := make(chan result, 1)
	p.mu.Lock()
	p.asked++
	id := p.asked
	p.waiting[id] = came
	p.mu.Unlock()
	line, err := json.Marshal(request{id, o})
	if err != nil {
		panic(err) // an op is plain data
	}
	p.Say(string(line))
	return came
}

// end has a process end, by itself or not.
func (p *process) end(t *testing.T, kill bool) {
	t.Helper()
	want := "exit status 0"
	if p.Stop(); kill {
		want = procs.Killed
		p.Kill()
	}
	if state, stderr := p.Wait(); state != want {
		t.Errorf("a process ended: %s, want %s\n%s", state, want, stderr)
	}
}
