using System.Collections.Concurrent;
using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.State;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Activations;

/// <summary>One grain class: how to make an activation, how it behaves, and which activations of it live.</summary>
internal sealed class GrainClass
{
    private readonly ConcurrentDictionary<string, Activation> _activations = new(StringComparer.Ordinal);
    private readonly ObjectFactory _factory;
    private readonly Func<Activation, PersistentState>[] _states;

    public GrainClass(Type type, EmbeddedGrainOptions options)
    {
        Type = type;
        GrainType = new GrainType(NameOf(type));
        IsReentrant = type.IsDefined(typeof(ReentrantAttribute), inherit: true);
        if (type.GetCustomAttribute<StatelessWorkerAttribute>() is { } worker)
        {
            IsStatelessWorker = true;
            Workers = worker.MaxLocalWorkers > 0 ? worker.MaxLocalWorkers : Environment.ProcessorCount;
        }

        CollectionAge = type.GetCustomAttribute<CollectionAgeLimitAttribute>()?.AgeLimit ?? options.CollectionAge;
        ActivatesItself = IsOverridden(type, nameof(Grain.OnActivateAsync));
        NeedsDeactivationTurn = IsOverridden(type, nameof(Grain.OnDeactivateAsync)) || type.IsAssignableTo(typeof(IDisposable)) || type.IsAssignableTo(typeof(IAsyncDisposable));

        ParameterInfo[] states = [.. ConstructorOf(type).GetParameters().Where(parameter => parameter.IsDefined(typeof(PersistentStateAttribute)))];
        _states = [.. states.Select(parameter => PersistentState.FactoryFor(parameter))];
        _factory = ActivatorUtilities.CreateFactory(type, [.. states.Select(parameter => parameter.ParameterType)]);
    }

    public Type Type { get; }

    public GrainType GrainType { get; }

    public bool IsReentrant { get; }

    public bool IsStatelessWorker { get; }

    public int Workers { get; } = 1;

    public TimeSpan CollectionAge { get; }

    /// <summary>Whether the class has an OnActivateAsync of its own.</summary>
    public bool ActivatesItself { get; }

    /// <summary>Whether deactivating takes a turn: there is code of the grain to run.</summary>
    public bool NeedsDeactivationTurn { get; }

    public Activation? Find(string key) => _activations.GetValueOrDefault(key);

    public Activation GetOrAdd(string key, Activation created) => _activations.GetOrAdd(key, created);

    public void Remove(string key, Activation activation) => _activations.TryRemove(new KeyValuePair<string, Activation>(key, activation));

    /// <summary>Makes the grain with its state records, which have yet to be read.</summary>
    public Grain Create(Activation activation, IServiceProvider services, out PersistentState[] states)
    {
        if (_states.Length == 0)
        {
            states = [];
            return (Grain)_factory(services, null);
        }

        states = new PersistentState[_states.Length];
        for (int i = 0; i < states.Length; i++)
            states[i] = _states[i](activation);
        return (Grain)_factory(services, states);
    }

    // Orleans' convention: the class name in lower case without "Grain" at its end.
    private static string NameOf(Type type)
    {
        if (type.GetCustomAttribute<GrainTypeAttribute>() is { } named)
            return named.GrainType;
        string name = type.Name.ToLowerInvariant();
        return name.Length > 5 && name.EndsWith("grain", StringComparison.Ordinal) ? name[..^5] : name;
    }

    private static bool IsOverridden(Type type, string method) =>
        type.GetMethods(BindingFlags.Instance | BindingFlags.Public).Any(candidate =>
            candidate.Name == method && candidate.GetBaseDefinition().DeclaringType == typeof(Grain) && candidate.DeclaringType != typeof(Grain));

    private static ConstructorInfo ConstructorOf(Type type)
    {
        ConstructorInfo[] constructors = type.GetConstructors();
        return constructors.Length switch
        {
            1 => constructors[0],
            0 => throw new InvalidOperationException($"Grain class {type} has no public constructor."),
            _ => constructors.FirstOrDefault(constructor => constructor.IsDefined(typeof(ActivatorUtilitiesConstructorAttribute)))
                ?? throw new InvalidOperationException($"Grain class {type} has {constructors.Length} public constructors; mark one with [ActivatorUtilitiesConstructor]."),
        };
    }
}
