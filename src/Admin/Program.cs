using System.Runtime.InteropServices;
using ObjectStore.Admin.CommandLine;

namespace ObjectStore.Admin;

internal static class Program
{
    public static async Task<int> Main(string[] words)
    {
        using CancellationTokenSource stop = new();
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal =>
        {
            signal.Cancel = true;
            stop.Cancel();
        });
        await using StreamWriter output = new(Console.OpenStandardOutput(), bufferSize: 64 << 10);
        try
        {
            return await AdminTool.RunAsync(words, new CommandContext(output, Console.Error, TimeProvider.System, Environment.GetEnvironmentVariable), stop.Token);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await Console.Error.WriteLineAsync("s3-admin: stopped");
            return ExitCode.Failed;
        }
    }
}
