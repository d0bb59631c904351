package proxy

// ReloadResult tmp
type ReloadResult struct{ Policy, Rev, Before, Flows string }
