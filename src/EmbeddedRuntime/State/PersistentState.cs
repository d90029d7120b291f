using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.Activations;
using Orleans.Runtime;
using Orleans.Storage;

namespace ObjectStore.EmbeddedRuntime.State;

/// <summary>A state record of an activation, whatever its type.</summary>
internal abstract class PersistentState
{
    private static readonly MethodInfo MakeGeneric = typeof(PersistentState).GetMethod(nameof(Make), BindingFlags.NonPublic | BindingFlags.Static)!;

    public abstract Task ReadStateAsync(CancellationToken cancellationToken);

    public static Func<Activation, PersistentState> FactoryFor(ParameterInfo parameter)
    {
        Type type = parameter.ParameterType;
        if (!type.IsGenericType || type.GetGenericTypeDefinition() != typeof(IPersistentState<>))
            throw new InvalidOperationException($"Parameter {parameter.Name} of {parameter.Member.DeclaringType} has [PersistentState] but is not an IPersistentState<T>.");
        PersistentStateAttribute attribute = parameter.GetCustomAttribute<PersistentStateAttribute>()!;
        return MakeGeneric.MakeGenericMethod(type.GetGenericArguments()).CreateDelegate<Func<PersistentStateAttribute, Activation, PersistentState>>() is { } make
            ? activation => make(attribute, activation)
            : throw new InvalidOperationException();
    }

    private static PersistentState Make<TState>(PersistentStateAttribute attribute, Activation activation)
    {
        GrainRuntime runtime = activation.Runtime;
        // A store of the attribute's name where one is registered; else the one store there is.
        IGrainStateStore store = attribute.StorageName is { } name && runtime.Services is IKeyedServiceProvider keyed && keyed.GetKeyedService(typeof(IGrainStateStore), name) is IGrainStateStore named
            ? named
            : runtime.StateStore;
        return new PersistentState<TState>(store, new GrainStateKey(activation.Class.GrainType.Name, attribute.StateName, activation.Key), runtime.Options.StateSerializerOptions);
    }
}

/// <summary>One state record: JSON in a store, with the ETag it was read or written at. Used from one activation's turns only.</summary>
internal sealed class PersistentState<TState>(IGrainStateStore store, GrainStateKey key, JsonSerializerOptions json) : PersistentState, IPersistentState<TState>
{
    private TState? _state;

    [AllowNull]
    public TState State
    {
        get => _state ??= CreateEmpty();
        set => _state = value;
    }

    public string? Etag { get; private set; }

    public bool RecordExists => Etag is not null;

    public Task ReadStateAsync() => ReadStateAsync(default);

    public Task WriteStateAsync() => WriteStateAsync(default);

    public Task ClearStateAsync() => ClearStateAsync(default);

    public override async Task ReadStateAsync(CancellationToken cancellationToken)
    {
        if (await store.ReadAsync(key, cancellationToken) is { } record)
        {
            _state = JsonSerializer.Deserialize<TState>(record.Payload, json);
            Etag = record.ETag;
        }
        else
        {
            _state = default;
            Etag = null;
        }
    }

    public async Task WriteStateAsync(CancellationToken cancellationToken)
    {
        // Serialised before the first await: what the grain changes later is not in this write.
        byte[] payload = JsonSerializer.SerializeToUtf8Bytes(State, json);
        GrainStateResult result = await store.WriteAsync(key, payload, Etag, cancellationToken);
        Etag = result.Succeeded ? result.ETag : throw Conflict("write", result.ETag);
    }

    public async Task ClearStateAsync(CancellationToken cancellationToken)
    {
        GrainStateResult result = await store.ClearAsync(key, Etag, cancellationToken);
        if (!result.Succeeded)
            throw Conflict("clear", result.ETag);
        Etag = null;
        _state = default;
    }

    private InconsistentStateException Conflict(string verb, string? storedETag) =>
        new($"Cannot {verb} state '{key.StateName}' of grain {key.GrainType}/{key.GrainKey}: another activation changed it.", storedETag, Etag);

    private static TState CreateEmpty() => typeof(TState) == typeof(string) ? default! : Activator.CreateInstance<TState>();
}
