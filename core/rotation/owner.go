package rotation

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Owner identifies the process that holds an intent, well enough for another one
// on the same machine to see that it is gone and take over at once. It only saves
// waiting: what makes a takeover safe is the fencing token.
type Owner struct {
	// Machine tells kernels, boots and process namespaces apart.
	Machine string
	PID     int
	// Start tells processes apart that had the same PID.
	Start string
}

// CurrentOwner describes this process. Where the system does not tell enough,
// Machine is the host's name and the process is never seen to be gone.
func CurrentOwner() Owner {
	pid := os.Getpid()
	start, err := startTime(pid)
	if err != nil {
		host, _ := os.Hostname()
		return Owner{Machine: host, PID: pid}
	}
	return Owner{Machine: machine(), PID: pid, Start: start}
}

// ParseOwner reads what String wrote; an unknown form is an owner that is never
// seen to be gone.
func ParseOwner(s string) Owner {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Owner{}
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		return Owner{}
	}
	return Owner{Machine: parts[0], PID: pid, Start: parts[2]}
}

func (o Owner) String() string { return fmt.Sprintf("%s/%d/%s", o.Machine, o.PID, o.Start) }

// Runs reports whether the process is one of this machine that has not ended.
func (o Owner) Runs() bool { return o.here() && !ended(o.PID, o.Start) }

// Gone reports whether the process is known to have ended.
func (o Owner) Gone() bool { return o.here() && ended(o.PID, o.Start) }

// here: this process can see whether that one runs.
func (o Owner) here() bool { return o.Start != "" && o.Machine != "" && o.Machine == machine() }
