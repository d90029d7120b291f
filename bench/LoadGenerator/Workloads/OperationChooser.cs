namespace ObjectStore.LoadGenerator.Workloads;

/// <summary>Decides which operation a connection does next, on which key. Not thread-safe; one instance per connection.</summary>
public sealed class OperationChooser
{
    private readonly LoadOptions _options;
    private readonly ObjectClient _client;
    private readonly int _index;
    private readonly Random _random;
    private readonly bool[] _isLive;
    private string _listToken = "";

    /// <summary>Creates the chooser of connection <paramref name="index"/>.</summary>
    public OperationChooser(LoadOptions options, ObjectClient client, int index)
    {
        _options = options;
        _client = client;
        _index = index;
        _random = new Random(Seeds.Derive(options.Seed, index));

        // In the mix, connection c alone works on keys c, c + connections, …: it knows which exist without asking the others.
        long owned = options.Mode == LoadMode.Mixed ? ((options.Keys - index - 1) / options.Connections) + 1 : 0;
        _isLive = new bool[Math.Max(owned, 0)];
        Array.Fill(_isLive, true);
    }

    /// <summary>Does operation <paramref name="sequence"/> of the run.</summary>
    public OperationResult Next(long sequence) => _options.Mode switch
    {
        LoadMode.Put => _client.Put(sequence % _options.Keys),
        LoadMode.Get => _client.Get(Choose(sequence)),
        LoadMode.Range => _client.GetRange(Choose(sequence)),
        LoadMode.Head => _client.Head(Choose(sequence)),
        LoadMode.List => _client.List(ref _listToken),
        LoadMode.Delete => _client.Delete(sequence),
        LoadMode.Multipart => _client.Multipart(sequence % _options.Keys),
        _ => Mixed(),
    };

    private long Choose(long sequence) => _options.Sequential ? sequence % _options.Keys : _random.NextInt64(_options.Keys);

    private OperationResult Mixed()
    {
        if (_isLive.Length == 0) return _client.List(ref _listToken);
        int slot = _random.Next(_isLive.Length);
        long number = _index + ((long)slot * _options.Connections);
        int dice = _random.Next(100);
        if (dice < 15 || !_isLive[slot])
        {
            OperationResult put = _client.Put(number);
            _isLive[slot] |= put.Error is null;
            return put;
        }

        if (dice < 60) return _client.Get(number);
        if (dice < 90) return _client.Head(number);
        OperationResult delete = _client.Delete(number);
        _isLive[slot] &= delete.Error is not null;
        return delete;
    }
}
