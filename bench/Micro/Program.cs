using ObjectStore.Benchmarks;

string filter = "";
bool quick = false;
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
        default:
            Console.Error.WriteLine("usage: ObjectStore.Benchmarks [--filter TEXT] [--quick]\nOne JSON line per benchmark whose name contains TEXT.");
            return args[i] == "--help" ? 0 : 2;
    }
}

Harness harness = quick
    ? new Harness(TimeSpan.FromMilliseconds(300), TimeSpan.FromMilliseconds(20), 5)
    : new Harness(TimeSpan.FromSeconds(2), TimeSpan.FromMilliseconds(100), 21);
int count = 0;
IEnumerable<Benchmark> benchmarks = typeof(Benchmark).Assembly.GetTypes()
    .Where(type => type.IsSubclassOf(typeof(Benchmark)) && !type.IsAbstract)
    .Select(type => (Benchmark)Activator.CreateInstance(type)!)
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
