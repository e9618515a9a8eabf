package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// The variables that make this test binary, started again, a process that works on
// backups. The job is one of those below.
const (
	backupJobVariable    = "KEYROTOR_E2E_BACKUP_JOB"
	backupConfigVariable = "KEYROTOR_E2E_BACKUP_CONFIG"
	backupFileVariable   = "KEYROTOR_E2E_BACKUP_FILE"
	// killPercentVariable: the process kills itself when so much of the copy is done.
	killPercentVariable = "KEYROTOR_E2E_BACKUP_KILL"
	// fileLimitVariable: no file may become larger than so many bytes.
	fileLimitVariable = "KEYROTOR_E2E_BACKUP_LIMIT"
)

const (
	jobChurn   = "churn"   // encrypt and rotate until the standard input ends
	jobCreate  = "create"  // write a backup
	jobRestore = "restore" // restore one
)

func backupJob(job string) error {
	ctx := context.Background()
	if err := limitFiles(os.Getenv(fileLimitVariable)); err != nil {
		return err
	}
	config, file := os.Getenv(backupConfigVariable), os.Getenv(backupFileVariable)
	if job == jobRestore {
		setup, err := core.Opener{}.Load(ctx, config)
		if err != nil {
			return err
		}
		in, err := os.Open(file)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = setup.RestoreBackup(ctx, in, killer())
		return errors.Join(err, setup.Close())
	}
	kr, err := core.Open(ctx, config)
	if err != nil {
		return err
	}
	if job == jobCreate {
		_, err = kr.CreateBackup(ctx, file, core.BackupOptions{Progress: killer()})
	} else {
		err = churn(ctx, kr)
	}
	return errors.Join(err, kr.Close())
}

// limitFiles is a disk that is full: a write beyond the limit fails.
func limitFiles(text string) error {
	if text == "" {
		return nil
	}
	limit, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit})
}

// killer answers a progress function that kills the process at its time. It says
// that the work has begun.
func killer() func(done, total uint64) {
	percent, err := strconv.ParseUint(os.Getenv(killPercentVariable), 10, 64)
	begun := false
	return func(done, total uint64) {
		if !begun {
			begun = true
			fmt.Println("begun")
		}
		if err == nil && 100*done >= percent*total {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
}

// churn writes each token that it was answered.
func churn(ctx context.Context, kr *core.Keyrotor) error {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		token, err := kr.Encrypt(ctx, "payments", []byte("s3cret"), nil)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(token, '\n')); err != nil {
			return err
		}
		if i%20 == 19 {
			_, err := kr.Rotate(ctx, "payments", keyring.ReasonManual, "")
			if err != nil && !errors.Is(err, rotation.ErrRotated) { // the other one was faster
				return err
			}
		}
	}
}

// startJob starts a process that does a job.
func startJob(t *testing.T, job, config string, env ...string) *procs.Child {
	t.Helper()
	return procs.Start(t, nil, append(env, backupJobVariable+"="+job, backupConfigVariable+"="+config)...)
}
