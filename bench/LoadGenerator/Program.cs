using System.Net.Sockets;
using ObjectStore.LoadGenerator;
using ObjectStore.LoadGenerator.Measurement;

if (args.Length == 0 || args.Contains("--help"))
{
    Console.Out.WriteLine(LoadOptions.Usage);
    return args.Length == 0 ? 2 : 0;
}

LoadOptions options;
try
{
    options = LoadOptions.Parse(args);
}
catch (Exception exception) when (exception is ArgumentException or FormatException or OverflowException)
{
    Console.Error.WriteLine($"{exception.Message}\n(--help lists the options)");
    return 2;
}

try
{
    RunReport report = new LoadRun(options).Run();
    Console.Out.WriteLine(report.ToJson());
    return report.ErrorCount == 0 && report.Mismatches == 0 && report.Operations > 0 ? 0 : 1;
}
catch (Exception exception) when (exception is IOException or SocketException)
{
    Console.Error.WriteLine(exception.Message);
    return 1;
}
