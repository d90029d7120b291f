using ObjectStore.Benchmarks;

string filter = "";
bool quick = false, interactive = false;
for (int i = 0; i < args.Length; i++)
{
    switch (args[i])
    {
        case "--filter" when i + 1 < args.Length:
            filter = args[++i];
            break;
        case "--quick":
            quick = true;
            break;
        case "--interactive":
            interactive = true;
            break;
        default:
            Console.Error.WriteLine("usage: ObjectStore.Benchmarks [--filter TEXT] [--quick] [--interactive]\nOne JSON line per benchmark whose name contains TEXT;"
                + "\nor, interactively, one for each line of input that is the name of one.");
            return args[i] == "--help" ? 0 : 2;
    }
}

Harness harness = quick
    ? new Harness(TimeSpan.FromMilliseconds(300), TimeSpan.FromMilliseconds(20), 5)
    : new Harness(TimeSpan.FromSeconds(2), TimeSpan.FromMilliseconds(100), 21);
int count = 0;
List<Benchmark> all = [.. typeof(Benchmark).Assembly.GetTypes()
    .Where(type => type.IsSubclassOf(typeof(Benchmark)) && !type.IsAbstract)
    .Select(type => (Benchmark)Activator.CreateInstance(type)!)
    .Where(benchmark => benchmark.IsSupported)];
if (interactive)
{
    // Another program measures the same by turns, so that the load of the machine falls on both alike.
    while (Console.In.ReadLine() is { } name)
    {
        if (all.Find(benchmark => benchmark.Name == name) is not { } asked)
        {
            Console.Error.WriteLine($"No benchmark is named '{name}'.");
            return 1;
        }

        Console.Out.WriteLine(harness.Measure(asked).ToJson());
        count++;
    }

    return 0;
}

IEnumerable<Benchmark> benchmarks = all
    .Where(benchmark => benchmark.Name.Contains(filter, StringComparison.OrdinalIgnoreCase))
    .OrderBy(benchmark => benchmark.Name, StringComparer.Ordinal);
foreach (Benchmark benchmark in benchmarks)
{
    Console.Out.WriteLine(harness.Measure(benchmark).ToJson());
    count++;
}

if (count > 0) return 0;
Console.Error.WriteLine($"No benchmark has '{filter}' in its name.");
return 1;
