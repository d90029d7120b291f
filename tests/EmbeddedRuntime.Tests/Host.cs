using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.Simulation;
using Orleans;

namespace ObjectStore.EmbeddedRuntime.Tests;

/// <summary>A started runtime over the grains of this assembly, with its clock.</summary>
internal sealed class Host : IAsyncDisposable
{
    private Host(ServiceProvider services, VirtualTimeProvider? clock)
    {
        Services = services;
        Clock = clock;
    }

    public ServiceProvider Services { get; }

    public VirtualTimeProvider? Clock { get; }

    public IGrainFactory Grains => Services.GetRequiredService<IGrainFactory>();

    public Journal Journal => Services.GetRequiredService<Journal>();

    public int Activations => Services.CountActivations();

    /// <summary>In real time.</summary>
    public static Task<Host> StartAsync(Action<EmbeddedGrainOptions>? configure = null) => StartAsync(null, configure, null);

    /// <summary>In virtual time.</summary>
    public static Task<Host> StartVirtualAsync(Action<EmbeddedGrainOptions>? configure = null, Action<IServiceCollection>? register = null) =>
        StartAsync(new VirtualTimeProvider(), configure, register);

    /// <summary>In a simulation: not started, and used inside Run only.</summary>
    public static Host Simulate(SimulationScheduler simulation, Action<EmbeddedGrainOptions>? configure = null) =>
        Build(simulation.Time, options =>
        {
            options.Simulation = simulation;
            configure?.Invoke(options);
        }, null);

    public async ValueTask DisposeAsync()
    {
        await Services.StopEmbeddedGrainsAsync();
        await Services.DisposeAsync();
    }

    private static async Task<Host> StartAsync(VirtualTimeProvider? clock, Action<EmbeddedGrainOptions>? configure, Action<IServiceCollection>? register)
    {
        Host host = Build(clock, configure, register);
        await host.Services.StartEmbeddedGrainsAsync();
        return host;
    }

    private static Host Build(VirtualTimeProvider? clock, Action<EmbeddedGrainOptions>? configure, Action<IServiceCollection>? register)
    {
        ServiceCollection services = new();
        services.AddSingleton<Journal>();
        if (clock is not null)
            services.AddSingleton<TimeProvider>(clock);
        register?.Invoke(services);
        services.AddEmbeddedGrains(options =>
        {
            options.AddGrainAssembly(typeof(Host).Assembly);
            configure?.Invoke(options);
        });
        return new Host(services.BuildServiceProvider(), clock);
    }
}

/// <summary>What grains tell a test, and the gates at which they wait for it.</summary>
internal sealed class Journal
{
    private readonly Dictionary<string, TaskCompletionSource> _gates = [];
    private readonly List<string> _lines = [];
    private readonly List<(int Count, Func<string, bool> Match, TaskCompletionSource Source)> _waiters = [];

    public string[] Lines
    {
        get
        {
            lock (_lines)
                return [.. _lines];
        }
    }

    public void Write(string line)
    {
        List<TaskCompletionSource> satisfied = [];
        lock (_lines)
        {
            _lines.Add(line);
            foreach ((int count, Func<string, bool> match, TaskCompletionSource source) in _waiters)
            {
                if (_lines.Count(match) >= count)
                    satisfied.Add(source);
            }
        }

        foreach (TaskCompletionSource source in satisfied)
            source.TrySetResult();
    }

    public Task WhenWritten(string line, int count = 1)
    {
        lock (_lines)
        {
            if (_lines.Count(written => written == line) >= count)
                return Task.CompletedTask;
            TaskCompletionSource source = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Add((count, written => written == line, source));
            return source.Task.WaitAsync(TimeSpan.FromSeconds(30));
        }
    }

    public Task Gate(string name) => SourceOf(name).Task;

    public void Open(string name) => SourceOf(name).TrySetResult();

    private TaskCompletionSource SourceOf(string name)
    {
        lock (_gates)
        {
            if (!_gates.TryGetValue(name, out TaskCompletionSource? source))
                _gates[name] = source = new(TaskCreationOptions.RunContinuationsAsynchronously);
            return source;
        }
    }
}
