package awskmsfake

import "time"

// Cryptographic is the class of operations that share a quota.
const Cryptographic = "cryptographic"

// PublishedQuotas are requests a second, by default and in most regions (page:
// requests-per-second). Operations that share none are a class of their own.
func PublishedQuotas() map[string]int {
	return map[string]int{
		Cryptographic: 10000, "CancelKeyDeletion": 5, "CreateAlias": 5, "CreateKey": 5, "DeleteAlias": 15, "DescribeKey": 2000,
		"DisableKey": 5, "DisableKeyRotation": 5, "EnableKey": 5, "EnableKeyRotation": 15, "GetKeyRotationStatus": 1000,
		"ListAliases": 500, "ListKeyRotations": 100, "ListResourceTags": 2000, "ReplicateKey": 5, "RotateKeyOnDemand": 5,
		"ScheduleKeyDeletion": 15, "TagResource": 10, "UntagResource": 5, "UpdateAlias": 5,
	}
}

// class is where an operation's requests are counted.
func class(op string) string {
	switch op {
	case "Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt":
		return Cryptographic
	default:
		return op
	}
}

// spent is what a class has used up in one second.
type spent struct {
	second time.Time
	n      int
}

// within counts a request, and answers whether the quota has room for it.
func (s *Server) within(op string, now time.Time) bool {
	name := class(op)
	quota, limited := s.config.Quotas[name]
	if !limited {
		return true
	}
	u := s.spent[name]
	if second := now.Truncate(time.Second); !u.second.Equal(second) {
		u = spent{second: second}
	}
	u.n++
	s.spent[name] = u
	return u.n <= quota
}
