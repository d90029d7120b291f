using ObjectStore.LossTest;

if (args.Contains("--help"))
{
    Console.Out.WriteLine(LossTestOptions.Usage);
    return 0;
}

try
{
    LossTestReport report = new LossTestRun(LossTestOptions.Parse(args)).Run();
    Console.Out.WriteLine(report.ToJson());
    return report.Passed ? 0 : 1;
}
catch (ArgumentException exception)
{
    Console.Error.WriteLine($"{exception.Message}\n(--help lists the options)");
    return 2;
}
