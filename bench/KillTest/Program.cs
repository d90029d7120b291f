using ObjectStore.KillTest;

if (args.Contains("--help"))
{
    Console.Out.WriteLine(KillTestOptions.Usage);
    return 0;
}

try
{
    KillTestReport report = new KillTestRun(KillTestOptions.Parse(args)).Run();
    Console.Out.WriteLine(report.ToJson());
    return report.Passed ? 0 : 1;
}
catch (ArgumentException exception)
{
    Console.Error.WriteLine($"{exception.Message}\n(--help lists the options)");
    return 2;
}
