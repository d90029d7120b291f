using System.Runtime.InteropServices;
using System.Text;
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

        // Console.Out writes every line by itself; a volume has millions.
        await using StreamWriter output = new(Console.OpenStandardOutput(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), bufferSize: 64 << 10);
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
