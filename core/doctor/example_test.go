package doctor_test

import (
	"fmt"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/doctor"
)

// Each check answers findings; a report collects them.
func ExampleReport() {
	var report doctor.Report
	report.Add(doctor.Config("keyrotor.hcl", nil, &config.Error{Problems: []config.Problem{
		{File: "keyrotor.hcl", Line: 3, Column: 1, Summary: `unknown block "provder"`, Detail: `did you mean "provider"?`},
	}})...)
	report.Add(doctor.Skip(doctor.GroupStore, "the config cannot be read"))
	for _, f := range report.Findings {
		fmt.Printf("%s %s: %s\n", f.Status, f.Check, f.Evidence)
	}
	fmt.Println(report.Count(doctor.Fail), "failed")
	// Output:
	// fail config.valid: unknown block "provder"
	// skipped store: the config cannot be read
	// 1 failed
}
