// A tests-only binary: a real Kubernetes control plane (etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler), kwok and helm.
//
// They are one binary because they share most of their packages, which are then compiled and
// linked once. The first argument picks the program:
//
//	controlplane etcd|apiserver|controller-manager|scheduler|kwok|helm ARGS...
package main

import (
	"errors"
	"fmt"
	"os"
	_ "time/tzdata" // time zones for CronJob.spec.timeZone

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helm "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	kwoksignals "sigs.k8s.io/kwok/pkg/utils/signals"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	program := os.Args[1]
	// Each program parses os.Args itself, so drop the program name we consumed.
	os.Args = append([]string{program}, os.Args[2:]...)

	switch program {
	case "etcd":
		etcdmain.Main(os.Args) // returns only when etcd stops
	case "apiserver":
		run(apiserver.NewAPIServerCommand())
	case "controller-manager":
		run(controllers.NewControllerManagerCommand())
	case "scheduler":
		run(scheduler.NewSchedulerCommand())
	case "kwok":
		forgetGlobalFlags()
		runKwok()
	case "helm":
		forgetGlobalFlags()
		runHelm()
	default:
		usage()
	}
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// forgetGlobalFlags drops the flags that Kubernetes packages register globally
// on import: their --version is not a bool, and cobra then refuses kwok's own.
func forgetGlobalFlags() {
	pflag.CommandLine = pflag.NewFlagSet(os.Args[0], pflag.ExitOnError)
}

// runKwok mirrors sigs.k8s.io/kwok/cmd/kwok.
func runKwok() {
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ := kwoklog.InitFlags(kwoksignals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		fail(err, 1)
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	if err := command.ExecuteContext(ctx); err != nil {
		fail(err, 1)
	}
}

// runHelm mirrors helm.sh/helm/v4/cmd/helm.
func runHelm() {
	helmkube.ManagedFieldsManager = "helm"
	command, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err != nil {
		fail(err, 1)
	}
	if err := command.Execute(); err != nil {
		var withCode helm.CommandError
		if errors.As(err, &withCode) {
			os.Exit(withCode.ExitCode)
		}
		os.Exit(1)
	}
}

func fail(err error, code int) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(code)
}

func usage() {
	fail(errors.New("usage: controlplane etcd|apiserver|controller-manager|scheduler|kwok|helm ARGS..."), 2)
}
