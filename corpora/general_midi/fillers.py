"""Filler words for captions: a model that is trained with them learns to ignore unrelated words.

None of them is part of a sound's name, a mood, a style, a tempo or a template.
"""

_TEXT = """
    about above across after again almost along already although always among another answer
    anyone apple around autumn away baby back bake banana basket because become before begin
    behind believe below beside better between beyond bird birthday blanket blue boat book
    bottle bottom bowl box bread breakfast bridge bring brother brown build bus button cake
    camera candle car card careful carry castle cat chair change cheese child choose city
    clean clever cloud coat coffee colour come cook corner cotton cousin cow cup curious
    daily day dear december desert desk dinner doctor dog door dream dress drive duck each
    early earth east easy egg eight elephant empty enough evening ever every everyone
    everything explain eye face fair family far farm father favourite feather february fence
    few field find finger finish fire fish five flower follow food forest forget fox fresh
    friday friend friendly frog fruit full future game garden gate gentle ghost giant gift
    glass glove go gold grandmother grass green grey ground grow guest half handsome hat
    have heart hello help here hill holiday home honey hope horse hotel hour hundred hungry
    idea inside island january jar journey july june just keep kettle kind king kitchen kite
    know ladder lake lamp large last late laugh leaf learn left lemon letter library little
    long look lost lovely lucky lunch magic many map market may maybe meadow meal meet
    message midnight milk minute mirror moment monday money monkey month moon more morning
    most mother mountain mouse much museum my near neighbour never next nice night nine
    north november now number ocean october office often old once one only open orange other
    our outside over owl page paint paper parcel park party past path pencil people perhaps
    person picture pie pillow pink planet plant plate pocket pond potato pretty prince
    promise purple puzzle quick quite rabbit rain rather read ready really red remember rice
    ride right river road robot rocket room round sail salt same sand saturday school sea
    second secret see september seven shadow share sheep ship shirt shoe shop short show
    side silver simple sister six sky sleep small smile snow soap soft something soon south
    space spoon spring star station still stone store storm story street strong sugar summer
    sun sunday sweater table tall tea teacher tell ten thank then there thing think thousand
    three thursday ticket tiger time tiny today together tomorrow tonight towel town train
    travel tree tuesday two umbrella uncle under until upon valley very village visit wait
    walk wall water wednesday week west wheel where while white wild window winter wish
    without wolf wonderful wood world write yard year yellow yesterday young zebra
"""
FILLERS = tuple(_TEXT.split())
